"""Masked language models that read how words are spelled: each word where it begins, and never what is hidden."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from seed import SEED

from groundup.data.batching import Packed
from groundup.data.collate import IGNORE, MaskedCollator
from groundup.data.facts import Facts
from groundup.data.packing import PackedText, SpelledText
from groundup.data.seeding import mix
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.models.recurrent import RecurrentEncoder
from groundup.tasks.masked_lm import MaskedLM
from groundup.text import pieces
from groundup.text.tokenizer import TokenizerSpec
from groundup.text.word_bytes import LONGEST, spelled
from groundup.text.words import word_spans

FACTS = Facts(vocab_size=1000, pad_id=0, unk_id=1, bos_id=2, eos_id=3, sep_id=4, mask_id=5, cls_id=6)
TEXTS = [
    "Dr. Kowalska's été at https://x.org/a_b, 3.14 % of 海边 小屋!",
    "",
    "a",
    "the quick brown fox doesn't jump over unbelievably lazy dogs " * 4,
]
TOKENIZERS = ["byte_bpe", "char", "word", "wordpiece", "unigram"]


def make_data(tokenizer: str, length: int = 16, lowercase: bool = False, **words) -> TextData:
    rows = GivenRows({"train": [{"text": text} for text in TEXTS], "validation": [{"text": text} for text in TEXTS]})
    spec = TokenizerSpec(tokenizer, 320, lowercase=lowercase)
    return TextData(rows, SpelledText, spec, Packed(length, 4, **words), None, seed=SEED)


def test_a_split_of_which_nothing_can_be_masked_is_refused_before_training():
    rows = GivenRows({"train": [{"text": text} for text in TEXTS], "validation": [{"text": "海"}, {"text": "日"}]})
    data = TextData(rows, PackedText, TokenizerSpec("word", 320), Packed(16, 4), None, seed=SEED)
    task = MaskedLM(RecurrentEncoder(data.facts.vocab_size, width=8, layers=1), data.facts, data.tokenizer)
    data.examples("train")
    task.check_data(data)
    data.examples("validation")
    with pytest.raises(UserError, match="no token of the validation split can be scored: it has"):
        task.check_data(data)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("piece", [1 << 14, 20])
def test_a_word_is_spelled_as_it_was_written_at_the_token_that_it_begins_in(tokenizer, lowercase, piece, monkeypatch):
    monkeypatch.setattr(pieces, "PIECE", piece)  # characters that are tokenized as one
    data = make_data(tokenizer, lowercase=lowercase)
    encoded, texts = data.examples("validation").encoded, [text for text in TEXTS if text]
    assert encoded.spelled.shape == (len(encoded.ids), LONGEST)
    words = 0
    for text, (begin, end) in zip(texts, pairwise(encoded.offsets.tolist()), strict=True):
        (_, places), *_ = data.tokenizer.encode_with_spans([text])
        known = {start: text[start:stop] for start, stop in word_spans(text)}
        for (start, stop), found in zip(places, encoded.spelled[begin : end - 1], strict=True):
            first = next((place for place in range(start, stop) if place in known), None)
            word = known.pop(first) if first is not None else None
            assert found.tolist() == (spelled([word])[0].tolist() if word else [0] * LONGEST)
            words += word is not None
        assert not encoded.spelled[end - 1].any()  # <eos>
        words += len(known)  # begin where another word does, or have no token
        assert len(known) <= 4
    assert words == sum(len(word_spans(text)) for text in texts)


@pytest.mark.parametrize("mask_documents", [False, True])
def test_windows_have_the_spelling_of_their_tokens(mask_documents):
    data = make_data("byte_bpe", mask_documents=mask_documents)
    examples = data.examples("validation")
    windows = examples.__getitems__([(-1, index) for index in range(len(examples.lengths(training=False)))])
    assert np.array_equal(np.concatenate([one["characters"] for one in windows]), examples.encoded.spelled[:-1])
    assert SpelledText is MaskedLM.examples_for("encoder", characters=True)
    assert PackedText is MaskedLM.examples_for("encoder")
    trained = next(iter(data.train_loader(lambda examples, seeds: examples, total=1)))
    spellings = {tuple(row.tolist()) for row in examples.encoded.spelled}
    assert {tuple(row.tolist()) for one in trained for row in one["characters"]} <= spellings


def windows(count: int, length: int = 40) -> list[dict]:
    """Words of one to three tokens; a window may begin within one."""
    random = np.random.default_rng(SEED)
    examples = []
    for number in range(count):
        first = random.random(length) < 0.5
        letters = np.where(
            np.arange(9) < random.integers(1, 9, length)[:, None], random.integers(1, 250, (length, 9)), 0
        )
        ids = np.where(random.random(length) < 0.1, 3, random.integers(7, 1000, length))
        examples.append({"input_ids": ids, "characters": letters * first[:, None], "index": number})
    return examples


@pytest.mark.parametrize("cls_first", [True, False])
def test_no_batch_would_be_another_if_the_hidden_words_were_others(cls_first):
    collate = MaskedCollator(FACTS, 0.3, cls_first)
    examples, seeds = windows(60), [mix(SEED, row) for row in range(60)]
    batch = collate(examples, seeds)
    hidden = ((batch["labels"] != IGNORE) & (batch["labels"] != batch["input_ids"])).numpy()
    hidden[:, 0] |= cls_first
    others, spelled_still = [], 0
    for example, row, characters in zip(examples, hidden, batch["characters"].numpy(), strict=True):
        ids, letters = example["input_ids"].copy(), example["characters"].copy()
        ids[row] = np.where(ids[row] > 6, 1006 - ids[row], ids[row])
        begins = [*np.flatnonzero(letters[:, 0]), len(ids)]
        for begin, end in pairwise(begins):
            if row[begin:end].any():
                letters[begin] = np.where(letters[begin] > 0, 251 - letters[begin], 0)
                assert not characters[begin].any()
            else:
                assert (characters[begin] == letters[begin][: characters.shape[1]]).all()
                spelled_still += 1
        others.append({"input_ids": ids, "characters": letters, "index": example["index"]})
    again = collate(others, seeds)
    assert spelled_still > 100 and hidden.sum() > 100
    assert not torch.equal(again["labels"], batch["labels"])
    for name in ("input_ids", "characters", "index"):
        assert torch.equal(again[name], batch[name]), name


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_loss_reaches_the_network_of_characters_and_the_spelling_of_what_is_seen_alone(tokenizer):
    data = make_data(tokenizer)
    torch.manual_seed(SEED)
    model = RecurrentEncoder(data.facts.vocab_size, width=16, layers=1, characters="cnn")
    task = MaskedLM(model, data.facts, data.tokenizer).eval()
    batch = next(iter(data.train_loader(task.collator(), total=1)))
    loss = task.loss(batch)
    (loss.total / loss.count).backward()
    assert model.characters.out.weight.grad.abs().sum() > 0
    hidden = (batch["labels"] != IGNORE) & (batch["input_ids"] == data.facts.mask_id)
    assert hidden.any() and not batch["characters"][hidden].any()
