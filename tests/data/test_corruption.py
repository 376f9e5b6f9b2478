"""Corrupted windows: they can be restored, lose what was asked, and depend on their seed alone."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter

import numpy as np
import pytest
import torch

from groundup.data.corruption import DenoisingCollator, SpanCorruptionCollator, sentence_end_ids
from groundup.data.facts import Facts
from groundup.data.seeding import mix
from groundup.text.tokenizer import Tokenizer

FACTS = Facts(vocab_size=1000, pad_id=0, unk_id=1, bos_id=2, eos_id=3, sep_id=4, mask_id=5, cls_id=6)
EOS, MASK, STOP = FACTS.eos_id, FACTS.mask_id, 10
COLLATORS = {
    "spans": SpanCorruptionCollator(FACTS),
    "noise": DenoisingCollator(FACTS, deletion=0.1, sentence_end_ids=[STOP]),
}
every_collator = pytest.mark.parametrize("collate", COLLATORS.values(), ids=COLLATORS)


def windows(count: int, length: int = 64, shortest: int | None = None) -> list[dict]:
    """Windows of packed text; the last ones may be shorter."""
    random = np.random.default_rng(0)
    sizes = [length] * count if shortest is None else [length, *random.integers(shortest, length, count - 1).tolist()]
    return [
        {"input_ids": random.integers(20, 1000, size), "labels": random.integers(20, 1000, size), "index": number}
        for number, size in enumerate(sizes)
    ]


def seeds(count: int, epoch: int = 0) -> list[int]:
    return [mix(1, epoch, row) for row in range(count)]


def content(row: torch.Tensor) -> list[int]:
    """A row without padding and the closing <eos>."""
    ids = [token for token in row.tolist() if token not in (FACTS.pad_id, -100)]
    assert ids.pop() == EOS
    return ids


def restored(source: list[int], target: list[int]) -> list[int]:
    """The spans of the target in the place of the marks of the source."""
    spans: list[list[int]] = []
    for token in target:
        if token == MASK:
            spans.append([])
        else:
            spans[-1].append(token)
    assert all(spans) and source.count(MASK) == len(spans)
    fill = iter(spans)
    return [token for part in source for token in (next(fill) if part == MASK else [part])]


@every_collator
def test_batches_are_those_of_pairs(collate):
    examples = windows(6, shortest=5)
    batch = collate(examples, seeds(6))
    assert set(batch) == {"input_ids", "attention_mask", "decoder_input_ids", "labels", "index"}
    assert batch["index"].tolist() == [0, 1, 2, 3, 4, 5]
    assert batch["decoder_input_ids"].shape == batch["labels"].shape
    assert torch.equal(batch["attention_mask"], batch["input_ids"] != FACTS.pad_id)
    for given, labels in zip(batch["decoder_input_ids"].tolist(), batch["labels"].tolist()):
        target = [token for token in labels if token != -100]
        assert target[-1] == EOS
        assert given == [FACTS.bos_id, *target[:-1], *[FACTS.pad_id] * (len(given) - len(target))]
    assert {tensor.dtype for name, tensor in batch.items() if name != "attention_mask"} == {torch.int64}


@every_collator
def test_a_row_depends_on_its_seed_alone(collate):
    examples = windows(8, shortest=1)
    together = collate(examples, seeds(8))
    for row in range(8):
        alone = collate(examples[row : row + 1], seeds(8)[row : row + 1])
        for name in ("input_ids", "labels"):
            assert content(alone[name][0]) == content(together[name][row])
    again = collate(examples, seeds(8, epoch=1))
    assert any(content(one) != content(other) for one, other in zip(again["input_ids"], together["input_ids"]))


@every_collator
def test_collating_leaves_the_examples_alone_and_survives_pickling(collate):
    examples = windows(4)
    before = [example["input_ids"].copy() for example in examples]
    batch, again = collate(examples, seeds(4)), pickle.loads(pickle.dumps(collate))(examples, seeds(4))
    assert all(np.array_equal(example["input_ids"], ids) for example, ids in zip(examples, before))
    assert all(torch.equal(batch[name], again[name]) for name in batch)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 50])
@pytest.mark.parametrize("density", [0.01, 0.15, 0.5, 0.99])
@pytest.mark.parametrize("span", [1.0, 3.0, 20.0])
def test_spans_put_back_give_the_window(length, density, span):
    examples = windows(20, length)
    batch = SpanCorruptionCollator(FACTS, density, span)(examples, seeds(20))
    assert "attention_mask" not in batch  # windows of one length stay of one length
    for example, source, labels in zip(examples, batch["input_ids"], batch["labels"]):
        assert restored(content(source), content(labels)) == example["input_ids"].tolist()
        marks = [token == MASK for token in content(source)]
        assert not any(one and other for one, other in itertools.pairwise(marks))  # a token stands between spans


@pytest.mark.parametrize(("density", "span"), [(0.15, 3.0), (0.5, 5.0)])
def test_spans_have_the_density_and_length_asked_for_and_no_favourite_place(density, span):
    length = 100
    examples = [{"input_ids": np.arange(20, 20 + length), "index": row} for row in range(3000)]
    batch = SpanCorruptionCollator(FACTS, density, span)(examples, seeds(3000))
    spans = round(length * density / span)
    assert batch["labels"].shape[1] == length * density + spans + 1
    assert batch["input_ids"].shape[1] == length * (1 - density) + spans + 1
    hidden = batch["labels"][batch["labels"] >= 20] - 20
    shares = np.bincount(hidden.numpy(), minlength=length) / 3000
    assert shares.mean() == pytest.approx(density)
    inner = shares[10:-10]
    assert inner.max() - inner.min() < 0.1 and abs(np.polyfit(np.arange(80), inner, 1)[0]) < 0.0003
    assert shares[[0, -1]].min() > density / (2 * span) and shares[[0, -1]].max() < density  # the ends too


def test_the_target_of_noise_is_the_window():
    examples = windows(9, shortest=1)
    for example, labels in zip(examples, COLLATORS["noise"](examples, seeds(9))["labels"]):
        assert content(labels) == example["input_ids"].tolist()


@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.5])
def test_infilling_hides_the_share_asked_for_in_spans_of_poisson_length(ratio):
    count, length = 200, 600
    examples = windows(count, length)
    for example in examples:
        example["input_ids"] = np.arange(20, 20 + length)  # so that what is missing shows in the differences
    batch = DenoisingCollator(FACTS, ratio, 3.0, permute_sentences=False)(examples, seeds(count))
    sizes: Counter[int] = Counter()
    ends = np.zeros(2)
    for source in batch["input_ids"]:
        ids = content(source)
        kept = [token for token in ids if token != MASK]
        assert kept == sorted(kept) and len(kept) == round(length * (1 - ratio))
        before = 19
        for token, following in zip(ids, [*ids[1:], 20 + length]):
            if token == MASK:
                assert following != MASK
                sizes[following - before - 1] += 1
            else:
                before = token
        ends += [ids[0] == MASK, ids[-1] == MASK]
    spans = sum(sizes.values())
    mean = sum(size * number for size, number in sizes.items()) / spans
    assert mean == pytest.approx(3.0, abs=0.15)  # the last is cut so that the share is exact
    for size, chance in ((0, 0.0498), (2, 0.2240), (3, 0.2240), (5, 0.1008)):
        assert sizes[size] / spans == pytest.approx(chance, abs=0.025)
    expected = spans / count / (length * (1 - ratio) + 1)  # spans among the places they may have
    assert ends.mean() / count == pytest.approx(expected, abs=0.07)


def test_infilling_of_nearly_everything_leaves_what_it_can():
    for length in (1, 2, 5, 40):
        batch = DenoisingCollator(FACTS, 0.99, 1.0)(windows(30, length), seeds(30))
        assert all(1 <= len(content(source)) <= 2 * length for source in batch["input_ids"])


def test_deletion_removes_the_share_asked_for_and_keeps_the_order():
    examples = windows(200, 100)
    batch = DenoisingCollator(FACTS, 0.0, deletion=0.2, permute_sentences=False)(examples, seeds(200))
    left = 0
    for example, source in zip(examples, batch["input_ids"]):
        ids, rest = content(source), iter(example["input_ids"].tolist())
        assert all(token in rest for token in ids) and MASK not in ids
        left += len(ids)
    assert left / (200 * 100) == pytest.approx(0.8, abs=0.01)


def test_sentences_change_places_within_their_documents():
    window = [21, 22, STOP, 23, STOP, 24, 25, 26, STOP, EOS, 31, STOP, 32, 33, STOP, 34]
    collate, orders = DenoisingCollator(FACTS, 0.0, sentence_end_ids=[STOP]), set()
    examples = [{"input_ids": np.array(window), "index": row} for row in range(400)]
    for source in collate(examples, seeds(400))["input_ids"]:
        ids = content(source)
        first, second = ids[:9], ids[10:]
        assert ids[9] == EOS  # documents stay apart and keep their end
        orders.add((tuple(first), tuple(second)))
    parts = [([21, 22, STOP], [23, STOP], [24, 25, 26, STOP]), ([31, STOP], [32, 33, STOP], [34])]
    firsts, seconds = ({tuple(itertools.chain(*order)) for order in itertools.permutations(part)} for part in parts)
    assert orders == set(itertools.product(firsts, seconds))  # every order, and nothing else
    still = DenoisingCollator(FACTS, 0.0, permute_sentences=False, sentence_end_ids=[STOP])(examples[:3], seeds(3))
    assert all(content(source) == window for source in still["input_ids"])


@pytest.mark.parametrize("kind", ["byte_bpe", "unigram", "char", "word", "wordpiece"])
def test_sentence_ends_are_found_in_english_and_chinese(kind):
    texts = [
        "He left. Why? No! She said yes, too.",
        "他走了。",
        "为什么？",
        "不！",
        "“好。”",
        "Version 3 is new; not old.",
    ] * 20
    tokenizer = Tokenizer.train(texts, kind, 600)
    ends = set(sentence_end_ids(tokenizer))
    for text in ("He left.", "Why?", "No!", "他走了。", "为什么？", "不！"):
        assert tokenizer.encode(text)[-1] in ends
    assert not ends & {*tokenizer.encode("He said yes, too"), *tokenizer.encode("他走了"), *range(7)}
