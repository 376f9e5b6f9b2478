"""What every source of rows promises; sources that are made by code, given as rows, or made of another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from groundup.data.answers import check_clean
from groundup.data.roles import Row
from groundup.data.rows import check_row, roles
from groundup.errors import UserError
from groundup.system.cache import Cache, code_version
from groundup.text.clean import Clean

SPLITS = ("train", "validation", "test")


class Source(Protocol):
    """Rows of named splits. ``rows`` may be iterated again and again, and gives the same rows in the same order.

    columns: role -> column of the raw data. A row's keys are roles, see ``data.roles.ROLES``.
    labels: the class names in an order the user fixed, or None (then they are sorted).
    streaming: rows are read from disk or network at each pass and never held together in memory.
    weighted: rows of the train split may have a ``weight``, a number by which their loss counts.
    """

    columns: dict[str, str]
    labels: list[str] | None
    streaming: bool
    weighted: bool = False

    def splits(self) -> list[str]:
        """Those of train, validation and test that exist."""
        ...

    def rows(self, split: str) -> Iterable[Row]:
        """Cleaned rows. Raises UserError: no such split, file or column; not UTF-8; broken or empty file."""
        ...

    def fingerprint(self, split: str) -> str:
        """Hex digest of all that decides the rows: content and settings."""
        ...

    def further(self) -> Iterable[str]:
        """Cleaned texts without labels that are like those of train: vocabularies and word vectors learn from them, too."""
        return ()

    def further_fingerprint(self) -> str | None:
        """Hex digest of all that decides these texts; None where there are none."""
        return None

    def without_labels(self) -> Iterable[Row]:
        """The same texts as rows, as a model is given them."""
        return ({"text": text} for text in self.further())


class Derived(Source):
    """A source made of another one, ``source``; what it does not say itself is that one's."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.columns, self.labels, self.streaming = source.columns, source.labels, source.streaming

    def splits(self) -> list[str]:
        return self.source.splits()

    def rows(self, split: str) -> Iterable[Row]:
        return self.source.rows(split)

    def fingerprint(self, split: str) -> str:
        return self.source.fingerprint(split)

    def further(self) -> Iterable[str]:
        return self.source.further()

    def further_fingerprint(self) -> str | None:
        return self.source.further_fingerprint()

    def without_labels(self) -> Iterable[Row]:
        return self.source.without_labels()


def place(content: str) -> float:
    """A place in [0, 1) that follows from the content alone: the same on every machine, and for every copy of it.

    It decides to which split a row belongs.
    """
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "big") / 2**64


class AnewEachPass:
    """Rows that are made anew at each pass."""

    def __init__(self, rows: Callable[[], Iterator[Row]]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Row]:
        return self._rows()


class Generated(Source):
    """Rows that code makes, once: they are kept in the cache, and follow from ``key`` and the code alone.

    name: of the data set, one of those that ``make`` gives. A subclass also sets ``columns``, and ``labels`` if it has any.
    """

    streaming = False
    labels: list[str] | None = None

    def __init__(self, name: str, clean: Clean | None) -> None:
        self.name, self.clean = name, clean
        self._rows: dict[str, list[Row]] = {}

    def key(self) -> Any:
        """What decides the rows beside the code: settings, versions. Fit for JSON."""
        raise NotImplementedError

    def make(self) -> dict[str, dict[str, list[Row]]]:
        """Name -> split -> raw rows."""
        raise NotImplementedError

    def splits(self) -> list[str]:
        return list(SPLITS)

    def rows(self, split: str) -> Iterable[Row]:
        if split not in SPLITS:
            raise UserError(f"the data has no {split} split; it has {', '.join(SPLITS)}")
        if split not in self._rows:
            key = Cache.key(type(self).__name__, code_version(self), self.key())
            with open(Cache().get(key, self._write) / f"{self.name}.{split}.jsonl", encoding="utf-8") as file:
                raw = [json.loads(line) for line in file]
            columns = {role: column for role, column in self.columns.items() if column in raw[0]}
            check_clean(columns, self.clean)
            self._rows[split] = [roles(row, columns, self.clean, f"{self.name} {split}") for row in raw]
        return self._rows[split]

    def fingerprint(self, split: str) -> str:
        content = [list(row.values()) for row in self.rows(split)]
        clean = self.clean.as_dict() if self.clean else None
        return Cache.key(type(self).__name__, self.name, split, clean, content)

    def _write(self, folder: Path) -> None:
        for name, rows_of in self.make().items():
            for split, rows in rows_of.items():
                lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
                (folder / f"{name}.{split}.jsonl").write_text("".join(lines), encoding="utf-8")


class GivenRows(Source):
    """A source of rows given by role, for each split: for notebooks, and for prediction."""

    streaming = False

    def __init__(self, splits: Mapping[str, Sequence[Row]], labels: Sequence[str] | None = None) -> None:
        self._splits = {split: list(rows) for split, rows in splits.items()}
        for split, rows in self._splits.items():
            for number, row in enumerate(rows, 1):
                check_row(row, f"{split} row {number}")
        self.labels = None if labels is None else list(labels)
        self.columns = {role: role for rows in self._splits.values() for row in rows[:1] for role in row}

    def splits(self) -> list[str]:
        return list(self._splits)

    def rows(self, split: str) -> list[Row]:
        if split not in self._splits:
            raise UserError(f"no {split} rows were given, only {', '.join(self._splits) or 'none'}")
        return self._splits[split]

    def fingerprint(self, split: str) -> str:
        return hashlib.sha256(repr(self.rows(split)).encode("utf-8", "surrogatepass")).hexdigest()
