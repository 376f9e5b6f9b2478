"""Padding, and the masking of BERT."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from groundup.data.collate import Collator, MaskedCollator, pad
from groundup.data.facts import Facts
from groundup.data.seeding import mix, seed_step, uniform

FACTS = Facts(vocab_size=1000, pad_id=0, unk_id=1, bos_id=2, eos_id=3, sep_id=4, mask_id=5, cls_id=6)


def windows(count: int, length: int = 64, low: int = 7) -> list[dict]:
    random = np.random.default_rng(0)
    return [
        {"input_ids": random.integers(low, 1000, length), "labels": random.integers(7, 1000, length), "index": number}
        for number in range(count)
    ]


def test_shorter_examples_are_padded_and_masked():
    examples = [
        {"input_ids": np.array([8, 9, 10]), "labels": np.array([9, 10, 11]), "position_ids": np.arange(3), "index": 4},
        {"input_ids": np.array([7]), "labels": np.array([8]), "position_ids": np.arange(1), "index": 2},
    ]
    examples = [{**example, "document_ids": example["position_ids"] * 0} for example in examples]
    batch = Collator(FACTS)(examples, [0, 0])
    assert batch["input_ids"].tolist() == [[8, 9, 10], [7, 0, 0]]
    assert batch["labels"].tolist() == [[9, 10, 11], [8, -100, -100]]
    assert batch["attention_mask"].tolist() == [[True, True, True], [True, False, False]]
    assert batch["position_ids"].tolist() == [[0, 1, 2], [0, 0, 0]]
    assert batch["document_ids"].tolist() == [[0, 0, 0], [0, -1, -1]]
    assert batch["index"].tolist() == [4, 2]
    assert {tensor.dtype for name, tensor in batch.items() if name != "attention_mask"} == {torch.int64}


def test_a_batch_without_padding_has_no_mask():
    batch = Collator(FACTS)([{"input_ids": np.array([6, 9, 4]), "labels": 1, "index": 0}] * 2, [0, 0])
    assert set(batch) == {"input_ids", "labels", "index"}
    assert batch["labels"].tolist() == [1, 1]


@pytest.mark.parametrize("rate", [0.15, 0.4])
def test_masking_follows_the_rates_of_bert(rate):
    examples = windows(2000)
    batch = MaskedCollator(FACTS, rate, cls_first=False)(examples, [mix(1, 0, row) for row in range(2000)])
    original = torch.tensor(np.stack([example["input_ids"] for example in examples]))
    chosen = batch["labels"] != -100
    assert chosen.double().mean().item() == pytest.approx(rate, abs=0.005)
    assert torch.equal(batch["labels"][chosen], original[chosen])
    assert torch.equal(batch["input_ids"][~chosen], original[~chosen])
    seen, true = batch["input_ids"][chosen], original[chosen]
    masked, kept = seen == FACTS.mask_id, seen == true
    assert masked.double().mean().item() == pytest.approx(0.8, abs=0.01)
    assert kept.double().mean().item() == pytest.approx(0.1, abs=0.01)
    words = seen[~masked & ~kept]
    assert words.min() >= 7 and words.max() < 1000
    assert len(words.unique()) > 800  # spread over the vocabulary
    positions = chosen.double().mean(0)
    assert positions.min() > rate - 0.05 and positions.max() < rate + 0.05  # no place is preferred


def test_special_tokens_and_padding_are_never_chosen():
    examples = windows(300, low=0)
    examples[3]["input_ids"] = examples[3]["input_ids"][:10]
    original = [example["input_ids"].copy() for example in examples]
    batch = MaskedCollator(FACTS, 0.9, cls_first=False)(examples, list(range(300)))
    for row, ids in enumerate(original):
        labels = batch["labels"][row, : len(ids)]
        assert (labels[ids < 7] == -100).all()
        assert (batch["labels"][row, len(ids) :] == -100).all()
    assert not batch["attention_mask"][3, 10:].any()


def test_every_row_with_a_word_has_one_chosen():
    examples = [{"input_ids": np.array([3, 50, 3]), "labels": np.zeros(3), "index": 0}] * 50
    batch = MaskedCollator(FACTS, 0.01)(examples, list(range(50)))
    assert batch["labels"].tolist() == [[-100, 50, -100]] * 50
    only_special = MaskedCollator(FACTS)([{"input_ids": np.array([3, 4]), "labels": np.zeros(2), "index": 0}], [1])
    assert only_special["labels"].tolist() == [[-100, -100]]


def test_words_are_chosen_and_drawn_wherever_others_have_their_special_tokens():
    facts = Facts(vocab_size=1000, pad_id=1, unk_id=3, bos_id=0, eos_id=2, sep_id=2, mask_id=999, cls_id=0)  # RoBERTa
    examples = windows(300, low=0)
    original = torch.tensor(np.stack([example["input_ids"] for example in examples]))
    batch = MaskedCollator(facts, 0.5, cls_first=False)(examples, list(range(300)))
    chosen, special = batch["labels"] != -100, torch.isin(original, torch.tensor(facts.special_ids))
    assert not (chosen & special).any()
    assert chosen[~special].double().mean().item() == pytest.approx(0.5, abs=0.02)
    drawn = batch["input_ids"][chosen & (batch["input_ids"] != original) & (batch["input_ids"] != 999)]
    assert len(drawn) > 100 and not torch.isin(drawn, torch.tensor(facts.special_ids)).any()


@pytest.mark.parametrize("name", ["first", "token_type_ids"])
def test_what_is_told_of_a_token_is_nothing_at_padding_whatever_its_id(name):
    examples = [{"input_ids": np.full(size, 7), name: np.ones(size, dtype=np.int64)} for size in (2, 4)]
    assert pad(examples, pad_id=1)[name].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_masks_do_not_depend_on_the_batch():
    examples, collate = windows(8), MaskedCollator(FACTS)
    examples[5]["input_ids"] = examples[5]["input_ids"][:20]
    seeds = [mix(1, 0, row) for row in range(8)]
    together = collate(examples, seeds)
    for row in range(8):
        alone = collate(examples[row : row + 1], seeds[row : row + 1])
        length = alone["input_ids"].size(1)
        for name in ("input_ids", "labels"):
            assert torch.equal(alone[name][0], together[name][row, :length])
    others = collate(examples, [mix(1, 1, row) for row in range(8)])
    assert not torch.equal(others["labels"], together["labels"])


def test_collating_leaves_the_examples_alone_and_survives_pickling():
    examples = windows(4)
    before = [example["input_ids"].copy() for example in examples]
    collate = MaskedCollator(FACTS)
    batch = collate(examples, [1, 2, 3, 4])
    assert all(np.array_equal(example["input_ids"], ids) for example, ids in zip(examples, before))
    again = pickle.loads(pickle.dumps(collate))(examples, [1, 2, 3, 4])
    assert all(torch.equal(batch[name], again[name]) for name in batch)
    assert (batch["input_ids"][:, 0] == FACTS.cls_id).all()


def test_uniform_numbers_are_uniform_and_independent_of_their_number():
    seeds = np.array([mix(7, row) for row in range(500)])
    numbers = uniform(seeds, 200)
    assert np.array_equal(uniform(seeds[3:5], 50), numbers[3:5, :50])
    assert numbers.min() >= 0 and numbers.max() < 1
    shares = np.histogram(numbers, bins=20, range=(0, 1))[0] / numbers.size
    assert np.abs(shares - 0.05).max() < 0.004
    assert abs(np.corrcoef(numbers[:, :-1].ravel(), numbers[:, 1:].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(numbers[:-1].ravel(), numbers[1:].ravel())[0, 1]) < 0.01


def test_seeding_a_step_fixes_every_generator():
    import random

    def draw() -> tuple[float, float, float]:
        return torch.rand(1).item(), float(np.random.rand()), random.random()  # noqa: NPY002

    seed_step(mix(1, 2))
    first = draw()
    seed_step(mix(1, 3))
    other = draw()
    seed_step(mix(1, 2), torch.device("cpu"))
    assert draw() == first
    assert all(a != b for a, b in zip(first, other))
    assert mix(1, 2) != mix(2, 1) and 0 <= mix(-1, 2**62) < 2**63
