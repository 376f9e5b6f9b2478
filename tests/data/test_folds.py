from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from groundup.data.sources.folds import Fold, folds_of, plain_text
from groundup.data.sources.source import GivenRows
from groundup.errors import UserError


def made(rows: int, seed: int = 0) -> list[dict[str, str]]:
    generator = random.Random(seed)
    words = [f"w{number}" for number in range(12)]
    return [
        {"text": " ".join(generator.choices(words, k=2)), "label": generator.choices("abc", [6, 3, 1])[0]}
        for _ in range(rows)
    ]


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_equal_texts_are_in_one_fold_and_classes_are_spread_evenly(count, seed):
    rows = made(200, seed)
    found = folds_of(rows, count)
    by_text: dict[str, set[int]] = {}
    for row, fold in zip(rows, found.tolist(), strict=True):
        by_text.setdefault(row["text"], set()).add(fold)
    assert all(len(folds) == 1 for folds in by_text.values())
    largest = max(Counter(row["text"] for row in rows).values())
    sizes = np.bincount(found, minlength=count)
    assert sizes.min() > 0 and sizes.max() - sizes.min() <= 3 * largest


def test_classes_of_different_texts_differ_by_one_row_at_most():
    rows = [{"text": f"text {number}", "label": "ab"[number % 7 == 0]} for number in range(100)]
    found = folds_of(rows, 4)
    for label in "ab":
        counts = np.bincount(found[[row["label"] == label for row in rows]], minlength=4)
        assert counts.max() - counts.min() <= 1


def test_folds_follow_from_content_whatever_the_order_capitals_and_blanks():
    rows = [{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(40)]
    found = dict(zip([row["text"] for row in rows], folds_of(rows, 3).tolist(), strict=True))
    random.Random(1).shuffle(rows)
    again = folds_of([{**row, "text": f" {row['text'].upper()}  "} for row in rows], 3)
    assert found == dict(zip([row["text"] for row in rows], again.tolist(), strict=True))


def test_every_row_is_held_out_once_and_classes_are_those_of_all_rows():
    rows = [*made(60), {"text": "the only one", "label": "rare"}]
    source = GivenRows({"train": rows, "validation": rows[:3], "test": rows[:2]})
    folds = [Fold(source, 4, number) for number in (1, 2, 3, 4)]
    assert (sum(fold.held_out for fold in folds) == 1).all()
    for fold in folds:
        train, held_out = list(fold.rows("train")), list(fold.rows("validation"))
        assert sorted(map(str, train + held_out)) == sorted(map(str, rows))
        assert not {*map(plain_text, train)} & {*map(plain_text, held_out)}
        assert fold.splits() == ["train", "validation"]  # a test split is scored once, by all folds together
        assert fold.labels == ["a", "b", "c", "rare"]
    assert len({fold.fingerprint("train") for fold in folds}) == 4


def test_too_few_texts_and_a_fold_that_is_none_are_said():
    source = GivenRows(
        {"train": [{"text": "x", "label": "a"}, {"text": "X ", "label": "b"}, {"text": "y", "label": "b"}]}
    )
    with pytest.raises(UserError, match=r"only 2 different texts\. Try folds=2"):
        Fold(source, 3, 1)
    with pytest.raises(UserError, match="Try fold=2"):
        Fold(source, 2, 3)
