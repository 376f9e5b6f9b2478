"""What one pass over labelled rows meets that a reader should know of."""

from __future__ import annotations

from collections.abc import Iterator

from groundup.data.sources.source import Row
from groundup.errors import UserError

_FEW = 20  # classes that any data may have, however few rows


class Tally:
    """Counts rows without a label, which are left out; rows whose text is empty, which stay; and classes."""

    def __init__(self) -> None:
        self.rows = 0
        self.labels: set[str] = set()
        self._unlabelled, self._empty = _Counted(), _Counted()

    def keeps(self, row: Row, where: str) -> bool:
        """Whether a cleaned row stays. Rows of data that have no labels always do."""
        label = row.get("label")
        if label == "":
            self._unlabelled.add(where)
            return False
        self.rows += 1
        if label is not None:
            self.labels.add(label)
            if not row.get("text", "").strip():
                self._empty.add(where)
        return True

    def lines(self, split: str) -> Iterator[str]:
        """For the terminal; nothing where there is nothing to tell."""
        if self._unlabelled.count:
            yield f"{split}: {self._unlabelled} without a label: left out"
        if self._empty.count:
            yield f"{split}: {self._empty} with an empty text: kept"

    def refuse_many(self, column: str) -> None:
        """Raises UserError when most rows have a class of their own, as names, numbers and texts have."""
        if len(self.labels) > max(_FEW, self.rows / 2):
            raise UserError(
                f"data.label={column}: {len(self.labels):,} classes in {self.rows:,} rows. Is it the right column? "
                "If it is, add data.many_classes=true"
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
