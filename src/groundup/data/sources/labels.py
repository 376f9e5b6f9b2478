"""The classes of a source's rows: their names, what is told of them, and when they are no classes."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator

from groundup.data.roles import Row, other_tasks
from groundup.data.sources.source import Source
from groundup.errors import UserError
from groundup.text.schemes import may_follow, neighbours, scheme_of

_FEW = 20  # classes that any data may have, however few rows
_SEPARATORS = ";|,/、，"  # between several labels in one cell
_NUMBER = re.compile(r"[+-]?\d*\.?\d+(e[+-]?\d+)?", re.IGNORECASE)


def row_labels(row: Row) -> list[str]:
    """The classes of a row, whether it has one, several or none."""
    label = row.get("label") or []
    return label if isinstance(label, list) else [label]


def label_names(source: Source, several: bool = False) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Class names and how many rows of the train split have each. ``several``: a row may have more than one, or none.

    Sorted (as numbers where all are whole numbers), or in the order of ``source.labels``.
    Raises UserError: no label column, one class only, a label that ``source.labels`` does not list; lists of labels that
    are not ``several``.
    """
    if "label" not in source.columns:
        others = other_tasks(("label",), source.columns)
        raise UserError(f"the data has no label column: name it, as in data.label=COLUMN{others}")
    counts: Counter[str] = Counter()
    for number, row in enumerate(source.rows("train"), 1):
        if isinstance(row["label"], list) and not several:
            raise UserError(f"row {number} of the train split has a list of labels: try task=multilabel")
        counts.update(row_labels(row))
    if source.labels is not None:
        names = [str(name) for name in source.labels]
        if unknown := sorted(set(counts) - set(names)):
            raise UserError(f"label '{unknown[0]}' of the train split is not in data.labels={names}")
    else:
        names = sorted(counts)
        if all(name.removeprefix("-").isdecimal() for name in names):
            names.sort(key=int)
    if len(counts) < 2 - several:
        only = next(iter(counts), "none")
        raise UserError(
            f"the train split has one class only ('{only}', {counts[only]} rows): classification needs two or more. "
            f"Is data.label={source.columns['label']} the right column?"
        )
    return tuple(names), tuple(counts[name] for name in names)


def alike(names: Iterable[str]) -> list[list[str]]:
    """Class names that may be one class: they differ in capitals, blanks, the form of letters, or as 1, 1.0 and true do."""
    spellings: dict[str, list[str]] = {}
    for name in names:
        plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        plain = {"true": "1", "false": "0"}.get(plain, plain)
        if re.fullmatch(r"[+-]?\d+\.\d*", plain):
            plain = plain.rstrip("0").removesuffix(".")
        spellings.setdefault(plain, []).append(name)
    return [found for found in spellings.values() if len(found) > 1]


def separator_of(names: Collection[str]) -> str | None:
    """What stands between several labels in one name, as in ``a;b``: the mark between no more names than there are."""
    for mark in _SEPARATORS:
        parts = {part.strip() for name in names for part in name.split(mark)}
        if any(mark in name for name in names) and len(parts) <= len(names):
            return mark
    return None


class Tally:
    """Counts rows without a label, which are left out; rows whose text is empty, which stay; classes, and pairs of tags."""

    def __init__(self) -> None:
        self.rows = 0
        self.labels: set[str] = set()
        self.unlabelled, self._empty, self._of_none = _Counted(), _Counted(), _Counted()
        self._tags: defaultdict[str, int] = defaultdict(int)
        self._pairs: defaultdict[tuple[str | None, str | None], _Counted] = defaultdict(_Counted)

    def keeps(self, row: Row, where: str) -> bool:
        """Whether a cleaned row stays. Rows of data that have no labels always do."""
        label = row.get("label")
        if label == "":
            self.unlabelled.add(where)
            return False
        self.rows += 1
        self.labels.update(row_labels(row))
        if label == []:
            self._of_none.add(where)
        if (label is not None or "score" in row) and not row.get("text", "").strip():
            self._empty.add(where)
        for pair in neighbours(row.get("tags", ())):
            self._pairs[pair].add(where)
            self._tags[pair[0] or "O"] += 1
        return True

    def lines(self, split: str) -> Iterator[str]:
        """For the terminal; nothing where there is nothing to tell."""
        if self.unlabelled.count:
            yield f"{split}: {self.unlabelled} without a label: left out"
        if self._empty.count:
            yield f"{split}: {self._empty} with an empty text: kept"
        if self._of_none.count:
            yield f"{split}: {self._of_none} with a list of no labels: kept"
        if (scheme := scheme_of(self._tags)) is not None:
            against = {pair: seen for pair, seen in self._pairs.items() if not may_follow(scheme, *pair)}
            if against:
                (before, after), most = max(against.items(), key=lambda item: item[1].count)
                count = sum(seen.count for seen in against.values())
                which = f"{after or 'the end'} after {before or 'the beginning'}"
                yield (
                    f"{split}: {count:,} tags against the rules of {scheme.upper()}, as {which} ({most.first}): kept, and "
                    "such an entity cannot be found. Is it another scheme? See task.scheme"
                )

    def refuse_many(self, column: str) -> None:
        """Raises UserError when most rows have a class of their own, as names, numbers and texts have; or when many
        classes are numbers that are not whole."""
        measured = all(map(_NUMBER.fullmatch, self.labels))
        fractions = measured and any("." in name for name in self.labels)
        if len(self.labels) > (_FEW if fractions else max(_FEW, self.rows / 2)):
            numbers = f" Numbers to predict are for task=regression data.score={column}." if measured else ""
            mark = separator_of(self.labels)
            several = f" Several in a cell: try task=multilabel data.label_separator='{mark}'." if mark else ""
            raise UserError(
                f"data.label={column}: {len(self.labels):,} classes in {self.rows:,} rows. Is it the right column?"
                f"{numbers}{several} If it is, add data.many_classes=true"
            )


class _Counted:
    """A number of rows, and where the first of them stands."""

    def __init__(self) -> None:
        self.count, self.first = 0, ""

    def add(self, where: str) -> None:
        self.count += 1
        self.first = self.first or where

    def __str__(self) -> str:
        rows = "1 row" if self.count == 1 else f"{self.count:,} rows"
        return f"{rows} ({'' if self.count == 1 else 'the first: '}{self.first})"
