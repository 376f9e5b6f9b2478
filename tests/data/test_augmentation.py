"""Augmentation: what may change, what may not, and that it follows from seed, epoch and row alone."""

import pickle
import random
import re
from collections import Counter
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from groundup.data.augmentation import EDA, Augmented, CharacterNoise, CutOff, Words
from groundup.data.batching import Bucketed, Packed
from groundup.data.collate import Collator
from groundup.data.labelled import LabelledText
from groundup.data.packing import PackedText
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.text.tokenizer import TokenizerSpec

SENTENCES = [
    "The old harbour lies before the island, near a lighthouse.",
    "We saw roses and tulips in the garden; compost is good soil",
    "海边的旧港口很美。",
    "naïve café",
    "word",
    "",
]
KINDS = ("byte_bpe", "unigram", "wordpiece", "word", "char")
MADE = {
    "eda": EDA,
    "deletion": lambda *a, **k: EDA(*a, **k, swap=0.0, insertion=0.0, replacement=0.0),
    "swap": lambda *a, **k: EDA(*a, **k, deletion=0.0, insertion=0.0, replacement=0.0),
    "insertion": lambda *a, **k: EDA(*a, **k, deletion=0.0, swap=0.0, replacement=0.0),
    "replacement": lambda *a, **k: EDA(*a, **k, deletion=0.0, swap=0.0, insertion=0.0),
    "noise": lambda *a, **k: CharacterNoise(*a, **k, share=0.5),
    "span": lambda *a, **k: CutOff(*a, **k, share=0.3),
    "tokens": lambda *a, **k: CutOff(*a, **k, share=0.3, what="tokens"),
}


@cache
def data(kind: str = "byte_bpe", pairs: bool = False) -> TextData:
    rows = [{"text": text, "label": str(number % 2)} for number, text in enumerate(SENTENCES * 3)]
    for row in rows if pairs else ():
        row["text_pair"] = "a second text, of five words"
    source = GivenRows({"train": rows, "validation": rows[:4]})
    return TextData(source, LabelledText, TokenizerSpec(kind, 400), Bucketed(64, batch_size=5), None, seed=1)


def made(name: str, kind: str = "byte_bpe", rows: float = 1.0, pairs: bool = False):
    text = data(kind, pairs)
    return MADE[name](text.tokenizer, text.examples("train"), rows=rows)


def examples(kind: str = "byte_bpe", pairs: bool = False):
    train = data(kind, pairs).examples("train")
    return train.__getitems__([(0, index) for index in range(len(train))])


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_those_that_a_reader_sees(kind):
    tokenizer = data(kind).tokenizer
    for example, sentence in zip(examples(kind), SENTENCES, strict=False):
        texts = list(Words(tokenizer).of(example["input_ids"]))
        assert [token for text in texts for word in text for token in word] == example["input_ids"].tolist()
        words = [tokenizer.decode(word).strip() for text in texts for word in text if word[0] > 6]
        if tokenizer.unk_id in example["input_ids"] or "ï" in sentence:  # ï is two bytes, which decode to nothing
            continue
        wide = (
            "[海边的旧港口很美]+" if kind in ("byte_bpe", "unigram") else "[海边的旧港口很美]"
        )  # their tokens may hold several
        assert [word for word in words if word] == re.findall(rf"[a-zA-Z]+|{wide}|[^\w\s]", sentence)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_rows_and_special_tokens_stay_and_no_row_outgrows_the_longest(name, kind, pairs):
    before = examples(kind, pairs)
    longest, copies = data(kind, pairs).examples("train").longest, [row["input_ids"].copy() for row in before]
    changed = 0
    for seed in range(6):
        after = made(name, kind, pairs=pairs)(before, list(range(seed, seed + len(before))))
        for one, other in zip(before, after, strict=True):
            assert {**one, "input_ids": 0} == {**other, "input_ids": 0}
            fixed = [ids[np.isin(ids, (4, 6))].tolist() for ids in (one["input_ids"], other["input_ids"])]
            assert fixed[0] == fixed[1]  # <sep> and <cls>
            assert len(other["input_ids"]) <= longest
            assert other["input_ids"].dtype == np.int64
            changed += not np.array_equal(one["input_ids"], other["input_ids"])
    assert all(np.array_equal(row["input_ids"], copy) for row, copy in zip(before, copies, strict=True))
    assert changed > 10


def test_each_operation_does_what_its_name_says():
    before = examples()
    bag = lambda row: Counter(row["input_ids"].tolist())  # noqa: E731
    for seed in range(30):
        seeds = list(range(seed, seed + len(before)))
        after = {name: made(name)(before, seeds) for name in MADE}
        for number, row in enumerate(before):
            assert bag(after["swap"][number]) == bag(row)
            assert bag(after["deletion"][number]) <= bag(row)
            assert bag(row) <= bag(after["insertion"][number])
            for name in ("span", "tokens"):
                one, other = row["input_ids"], after[name][number]["input_ids"]
                hidden = np.flatnonzero(one != other)
                assert set(other[hidden]) <= {data().tokenizer.mask_id}
                assert len(hidden) == round(0.3 * (one > 6).sum())
                assert name == "tokens" or not len(hidden) or hidden[-1] - hidden[0] == len(hidden) - 1


@pytest.mark.parametrize("kind", ["byte_bpe", "unigram", "wordpiece", "char"])
def test_misspelt_words_keep_the_blanks_and_marks_beside_them(kind):
    text = "We saw roses (and tulips) in the old garden; an x-ray, a well-known lighthouse."
    rows = [{"text": text, "label": str(number % 2)} for number in range(8)]
    made_of = TextData(GivenRows({"train": rows}), LabelledText, TokenizerSpec(kind, 300), Bucketed(128), None, seed=1)
    train, tokenizer = made_of.examples("train"), made_of.tokenizer
    noise = CharacterNoise(tokenizer, train, rows=1.0, share=0.5)
    noise.longest = 1000
    found = noise(train.__getitems__([(0, row) for row in range(8)]), range(8))
    spelled = [tokenizer.decode(one["input_ids"]) for one in found]
    for one in spelled:
        assert re.sub("[a-zA-Z]", "", one) == re.sub("[a-zA-Z]", "", text)
    assert all(one != text for one in spelled)


def test_a_share_of_the_rows_changes_and_others_in_each_epoch():
    train, eda = data().examples("train"), made("swap", rows=0.25)
    counts, touched = [], set()
    for epoch in range(60):
        batch = next(iter(loader(eda, batch=18, start=epoch)))
        plain = next(iter(loader(None, batch=18, start=epoch)))
        rows = (batch["input_ids"] != plain["input_ids"]).any(1).nonzero()[:, 0]
        counts.append(len(rows))
        touched |= set(batch["index"][rows].tolist())
    assert 0.1 < np.mean(counts) / len(train) < 0.25  # some swaps exchange a word with itself, short texts have none
    assert len(touched) > 8


def loader(augmentation, batch: int = 5, start: int = 0, workers: int = 0):
    text = data()
    collate = Collator(text.facts)
    chosen = Augmented(collate, [augmentation]) if augmentation else collate
    source = TextData(text.source, LabelledText, text.tokenizer, Bucketed(64, batch_size=batch), None, seed=1)
    return source.train_loader(chosen, total=start + 6, start=start, num_workers=workers)


@pytest.mark.parametrize("name", ["eda", "noise", "span"])
def test_a_resumed_run_sees_the_same_rows_whatever_came_before(name):
    augmentation = made(name)
    whole = list(loader(augmentation))
    again = pickle.loads(pickle.dumps(augmentation))
    random.seed(5)
    torch.manual_seed(5)
    rest = list(loader(again, start=4))[:2]
    for one, other in zip(whole[4:], rest, strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_row_changes_alike_beside_whatever_rows():
    before, eda = examples(), made("eda", rows=0.5)
    seeds = [7 * number for number in range(len(before))]
    together = eda(before, seeds)
    for number, row in enumerate(before):
        assert np.array_equal(eda([row], [seeds[number]])[0]["input_ids"], together[number]["input_ids"])


def test_what_would_break_labels_is_refused():
    text = TextData(data().source, PackedText, data().tokenizer, Packed(8), None, seed=1)
    for kind in (EDA, CutOff):
        with pytest.raises(UserError, match=r"learns from the words themselves. Try augmentation=none"):
            kind(text.tokenizer, text.examples("train"))
    with pytest.raises(UserError, match="nothing would change"):
        EDA(data().tokenizer, data().examples("train"), deletion=0.0, swap=0.0, insertion=0.0, replacement=0.0)


def test_cut_off_leaves_special_tokens_where_others_have_put_them():
    roles = {
        "pad_id": 0,
        "unk_id": 100,
        "cls_id": 101,
        "bos_id": 101,
        "sep_id": 102,
        "eos_id": 102,
        "mask_id": 103,
    }  # BERT
    ids = np.array([101, 7, 5, 3000, 8, 4, 102])
    for what in ("span", "tokens"):
        hide = CutOff(SimpleNamespace(**roles), data().examples("train"), rows=1.0, share=0.95, what=what)
        (changed,) = hide([{"input_ids": ids}], [1])
        assert changed["input_ids"].tolist() == [101, 103, 103, 103, 103, 103, 102]
