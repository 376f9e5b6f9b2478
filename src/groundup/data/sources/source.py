"""What every source of rows promises, and what may be asked of any of them."""

from __future__ import annotations

import difflib
import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from groundup.data.sources.formats import DELIMITERS, shortened
from groundup.errors import UserError
from groundup.text.clean import Clean, valid_unicode

SPLITS = ("train", "validation", "test")
NAMES = ("label", "group")  # roles that are names, not texts
Row = dict[str, Any]


class Source(Protocol):
    """Rows of named splits. ``rows`` may be iterated again and again, and gives the same rows in the same order.

    columns: role -> column of the raw data. A row's keys are roles: ``text``, ``text_pair``, ``label``; for a text made
    from another ``source``, ``target``, ``references`` (a list: what else would have been right); and ``group``, a name
    for the rows whose figures are reported apart.
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
    """A raw row under its roles' names: text cleaned, numbers and truth values as strings, empty texts kept.

    A column may be a path into nested ones, as in ``translation.en``. ``references`` may hold a list, one text, or
    nothing, and becomes a list. No value, and NaN, is an empty text or label. ``where`` names file and line in messages.
    Raises UserError when a column is missing, has no value on one side of a pair, or holds anything else than a text.
    """
    row = extract(row, columns, where)
    return cleaned(row, clean) if clean else row


def cleaned(row: Row, clean: Clean) -> Row:
    """The row with its texts cleaned; names (``label``, ``group``) stay."""
    texts = {role: value for role, value in row.items() if role not in NAMES}
    return row | {
        role: [clean(one) for one in value] if role == "references" else clean(value) for role, value in texts.items()
    }


def extract(row: Mapping[str, Any], columns: Mapping[str, str], where: str) -> Row:
    """``roles`` without cleaning."""
    result: Row = {}
    for role, column in columns.items():
        value = in_row(row, role, column, where, taken=columns.values())
        if role == "references":
            result[role] = [_text(one, role, column, where) for one in _listed(value)]
            continue
        if value is None or value != value or (role == "group" and value == ""):  # NaN is no value either
            if role not in ("label", "text", "text_pair"):
                raise UserError(f"{where}: no value in column '{column}' (data.{role}): fill it in, or remove the row")
            value = ""
        result[role] = _text(value, role, column, where)
    return result


def in_row(row: Mapping[str, Any], role: str, column: str, where: str, taken: Iterable[str] = ()) -> Any:
    """``lookup`` with a message of the user's. Raises UserError when there is no such column."""
    try:
        return lookup(row, column)
    except KeyError:
        raise missing_column(role, column, row, where, taken) from None


def lookup(row: Mapping[str, Any], column: str) -> Any:
    """The value of a column, or of a path into nested columns. Raises KeyError when there is none."""
    if column in row:
        return row[column]
    outer, _, inner = column.partition(".")
    if not inner or not isinstance(row[outer], Mapping):
        raise KeyError(column)
    return lookup(row[outer], inner)


def missing_column(
    role: str, column: str, present: Mapping[str, Any], where: str, taken: Iterable[str] = ()
) -> UserError:
    """The columns that exist, nested ones as paths; the nearest that no other role has ``taken`` is proposed."""
    names = list(_paths(present))
    if names == ["text"] and role in ("source", "target") and ".txt" in where:
        return UserError(
            f"{where}: a .txt has one text a line, no pairs; give both sides in one .tsv, .csv, .jsonl or .parquet, "
            f"as in data.train=pairs.tsv data.source=en data.target=zh"
        )
    if names == ["text"] and role == "label" and ".txt" in where:
        return UserError(
            f"{where}: a .txt has one text a line, no labels. To learn from the text alone: "
            f"groundup pretrain data=files data.train={where}; for labels give a .csv, .tsv, .jsonl or .parquet"
        )
    free = [name for name in names if name not in taken]
    if len(names) == 1 and (mark := next((mark for mark in DELIMITERS if mark in names[0]), None)):
        typed = "tab" if mark == "\t" else f"'{mark}'"
        return UserError(f"{where}: no column '{column}', one column '{names[0]}'. Try data.delimiter={typed}")
    if column in names:
        return UserError(
            f"{where}: column '{column}' has another role; it has {shortened(names)}. Name data.{role}=COLUMN"
        )
    near = difflib.get_close_matches(column, free, n=1, cutoff=0.5) or free[:1]
    hint = f"; try data.{role}={near[0]}" if near else ""
    return UserError(f"{where}: no column '{column}'; it has {shortened(names) or 'none'}{hint}")


def _paths(row: Mapping[str, Any]) -> Iterator[str]:
    for name, value in row.items():
        if isinstance(value, Mapping) and value:
            yield from (f"{name}.{inner}" for inner in _paths(value))
        else:
            yield str(name)


def _text(value: Any, role: str, column: str, where: str) -> str:
    if isinstance(value, (Mapping, list)):
        inner = f"; try data.{role}={column}.{next(iter(value))}" if isinstance(value, Mapping) and value else ""
        kind = "dict" if isinstance(value, Mapping) else "list"
        raise UserError(f"{where}: column '{column}' (data.{role}) holds a {kind}, not a text{inner}")
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise UserError(f"{where}: column '{column}' (data.{role}) holds bytes that are not UTF-8 text") from None
    if role in NAMES:
        return label_text(value)
    return valid_unicode(str(value))


def label_text(value: Any) -> str:
    """The name of a class: the same for 1 and 1.0, and for an accent that is part of its letter or stands after it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return unicodedata.normalize("NFC", valid_unicode(str(value))).strip()


def _listed(value: Any) -> list[Any]:
    """Nothing, one text or a list as a list; a cell left empty in a table is nothing."""
    values = value if isinstance(value, list) else [value]
    return [one for one in values if one is not None and one != ""]


def check_roles(form: str, columns: Collection[str]) -> None:
    """Raises UserError for pairs where a task reads texts, or texts where it reads pairs."""
    pairs = ("source", "target")
    if not columns:
        return  # nothing was given: rows come later
    if form in ("paired", "prompted") and (missing := [role for role in pairs if role not in columns]):
        words = " ".join(f"data.{role}=COLUMN" for role in missing)
        raise UserError(f"this task needs pairs, but the data has {' and '.join(columns)}. Try {words}")
    if form == "labelled" and "text" not in columns and "source" in columns:
        raise UserError(
            f"this task needs labelled text, but the data has {' and '.join(columns)}. "
            f"Try data.text=COLUMN data.label=COLUMN, or task=translation"
        )


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
