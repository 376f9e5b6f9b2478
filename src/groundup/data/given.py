"""Rows that are already in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from groundup.data.sources.source import Row
from groundup.errors import UserError


class GivenRows:
    """A source (see ``sources.source.Source``) of rows given by role, for each split: for notebooks, and for prediction."""

    streaming = False

    def __init__(self, splits: Mapping[str, Sequence[Row]], labels: Sequence[str] | None = None) -> None:
        self._splits = {split: list(rows) for split, rows in splits.items()}
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
