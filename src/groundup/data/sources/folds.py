"""Cross-validation: the train split in parts, each of which is held out in turn."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from groundup.data.roles import ROLES, Row
from groundup.data.sources.labels import label_names
from groundup.data.sources.source import Derived, Source, place
from groundup.errors import UserError
from groundup.system.cache import Cache


class Fold(Derived):
    """``source`` without the rows of one fold of its train split, which are the validation split instead.

    The classes are those of the whole train split, so that all folds agree on them. ``number`` counts from 1 to ``count``.
    Raises UserError where there are fewer different texts than folds.
    """

    def __init__(self, source: Source, count: int, number: int) -> None:
        if number > count:
            raise UserError(f"fold={number}: of folds={count} there is none with this number. Try fold={count}")
        super().__init__(source)
        self.count, self.number, self.streaming = count, number, False
        self._rows = list(source.rows("train"))
        several = any(isinstance(row.get("label"), list) for row in self._rows)
        if "label" in source.columns:
            self.labels = list(label_names(source, several)[0])
        self.held_out = folds_of(self._rows, count) == number - 1  # (N,) bool, of the rows of the whole train split

    def splits(self) -> list[str]:
        return ["train", "validation"]  # a test split is scored once, by all folds together

    def rows(self, split: str) -> Sequence[Row]:
        chosen = self.held_out if split == "validation" else ~self.held_out
        return [self._rows[row] for row in np.flatnonzero(chosen)]

    def fingerprint(self, split: str) -> str:
        return Cache.key("fold", split, self.count, self.number, self.source.fingerprint("train"))


def folds_of(rows: Sequence[Row], count: int) -> np.ndarray:
    """The fold of each row (N,), 0 to ``count`` - 1: each class is spread evenly, and equal texts stay together.

    It follows from the rows alone: every model and every seed has the same folds. Texts that differ in capitals or blanks
    are equal here. Raises UserError where there are fewer different texts than folds.
    """
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[plain_text(row)].append(number)
    if len(groups) < count:
        raise UserError(
            f"folds={count}: the train split has only {len(groups)} different texts. Try folds={len(groups)}"
        )
    by_class: defaultdict[str, list[str]] = defaultdict(list)
    for text, members in groups.items():
        by_class[str(rows[members[0]].get("label"))].append(text)
    found, sizes = np.zeros(len(rows), dtype=np.int64), np.zeros(count, dtype=np.int64)
    for name in sorted(by_class):
        in_class = np.zeros(count, dtype=np.int64)
        for text in sorted(by_class[name], key=lambda text: (place(text), text)):
            fold = int(np.lexsort((np.arange(count), sizes, in_class))[0])  # fewest of the class, then fewest of all
            found[groups[text]] = fold
            in_class[fold] += len(groups[text])
            sizes[fold] += len(groups[text])
    return found


def plain_text(row: Row) -> str:
    """All that a model is given of a row as one text, without capitals and with single blanks."""
    given = [value for role, value in sorted(row.items()) if role in ROLES and ROLES[role].given]
    texts = [" ".join(value) if isinstance(value, list) else value for value in given]
    return "\0".join(" ".join(text.casefold().split()) for text in texts)
