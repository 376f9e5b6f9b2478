"""What every source of rows promises, and what may be asked of any of them."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from groundup.data.clean import Clean, valid_unicode
from groundup.errors import UserError

SPLITS = ("train", "validation", "test")
Row = dict[str, Any]


class Source(Protocol):
    """Rows of named splits. ``rows`` may be iterated again and again, and gives the same rows in the same order.

    columns: role -> column of the raw data. A row's keys are roles: ``text``, ``text_pair``, ``label``.
    labels: the class names in an order the user fixed, or None (then they are sorted).
    streaming: rows are read from disk or network at each pass and never held together in memory.
    """

    columns: dict[str, str]
    labels: list[str] | None
    streaming: bool

    def splits(self) -> list[str]:
        """Those of train, validation and test that exist."""
        ...

    def rows(self, split: str) -> Iterable[Row]:
        """Cleaned rows. Raises UserError: no such split, file or column; not UTF-8; broken or empty file."""
        ...

    def fingerprint(self, split: str) -> str:
        """Hex digest of all that decides the rows: content and settings."""
        ...


def roles(row: Mapping[str, Any], columns: Mapping[str, str], clean: Clean | None, where: str) -> Row:
    """A raw row under its roles' names: text cleaned, numbers and truth values as strings.

    ``where`` names file and line in messages. Raises UserError when a column is missing or has no value.
    """
    result: Row = {}
    for role, column in columns.items():
        if column not in row:
            raise missing_column(role, column, list(row), where)
        value = row[column]
        if value is None or (role == "label" and value == ""):
            raise UserError(f"{where}: no value in column '{column}' (data.{role}): fill it in, or remove the row")
        if isinstance(value, (dict, list)):
            raise UserError(f"{where}: column '{column}' (data.{role}) holds a {type(value).__name__}, not a text")
        text = valid_unicode(str(value))
        result[role] = text.strip() if role == "label" else clean(text) if clean else text
    return result


def missing_column(role: str, column: str, present: list[str], where: str) -> UserError:
    """The columns that exist, nearest first."""
    present = [str(name) for name in present]
    near = difflib.get_close_matches(column, present, n=1, cutoff=0.5) or present[:1]
    hint = f"; try data.{role}={near[0]}" if near else ""
    return UserError(f"{where}: no column '{column}'; it has {', '.join(present) or 'none'}{hint}")


def label_names(source: Source) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Class names and how many rows of the train split have each.

    Sorted (as numbers where all are whole numbers), or in the order of ``source.labels``.
    Raises UserError: no label column, one class only, a label that ``source.labels`` does not list.
    """
    if "label" not in source.columns:
        raise UserError("the data has no label column: name it, as in data.label=COLUMN")
    counts = Counter(row["label"] for row in source.rows("train"))
    if source.labels is not None:
        names = [str(name) for name in source.labels]
        if unknown := sorted(set(counts) - set(names)):
            raise UserError(f"label '{unknown[0]}' of the train split is not in data.labels={names}")
    else:
        names = sorted(counts)
        if all(name.removeprefix("-").isdecimal() for name in names):
            names.sort(key=int)
    if len(counts) < 2:
        only = next(iter(counts), "none")
        raise UserError(
            f"the train split has one class only ('{only}', {counts[only]} rows): classification needs two or more. "
            f"Is data.label={source.columns['label']} the right column?"
        )
    return tuple(names), tuple(counts[name] for name in names)
