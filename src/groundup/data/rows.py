"""A row of any data under the names of its roles: which column each is read from, and what its values must be."""

from __future__ import annotations

import difflib
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from groundup.config.quoting import shell_word
from groundup.data.answers import answers_of, check_answers
from groundup.data.formats.delimited import DELIMITERS
from groundup.data.reading import shortened
from groundup.data.roles import ROLES, Row, plain_name
from groundup.errors import UserError
from groundup.text.clean import Clean, valid_unicode

_CLASSES = ("label", "tags", "group")  # roles whose values are names of classes
_WHOLE = re.compile(r"-?(0)\.0+|(-?[1-9][0-9]*)\.0+")  # a whole number with a fraction of nothing
_ADVICE = 'Give a .jsonl or .parquet with lists, as in {{"{0}": ["a", "b"]}}'


def roles(row: Mapping[str, Any], columns: Mapping[str, str], clean: Clean | None, where: str) -> Row:
    """A raw row under its roles' names: text cleaned, numbers and truth values as strings (a score as a float), empty texts
    kept.

    A column may be a path into nested ones, as in ``translation.en``. No value, and NaN, is an empty text or label.
    Tokens are cleaned one by one; one of which nothing is left stays, as an empty text. ``where`` names file and line in
    messages.
    Raises UserError when a column is missing, has no value on one side of a pair, or holds anything else than its role:
    a score that is no finite number.
    """
    result: Row = {}
    for role, column in columns.items():
        value = in_row(row, role, column, where, taken=columns.values())
        if ROLES[role].placed:
            result[role] = answers_of(value, column, where)
        elif ROLES[role].many:
            result[role] = [_text(one, role, column, where) for one in _items(value, role, column, where)]
        elif ROLES[role].listed and isinstance(value, list | tuple):
            names = [_text(one, role, column, where) for one in value if not _is_missing(one)]
            result[role] = [name for name in dict.fromkeys(names) if name]
        elif ROLES[role].number:
            result[role] = _number(_filled(value, role, column, where), role, column, where)
        else:
            result[role] = _text(_filled(value, role, column, where), role, column, where)
    check_row(result, where)
    return cleaned(result, clean) if clean else result


def cleaned(row: Row, clean: Clean) -> Row:
    """The row with its texts cleaned; names (``label``, ``tags``, ``group``) and numbers stay."""
    return {
        role: value if not ROLES[role].written else [clean(one) for one in value] if ROLES[role].many else clean(value)
        for role, value in row.items()
    }


def check_row(row: Row, where: str) -> None:
    """Raises UserError for a row with more or fewer tags than tokens, or whose answers are not in its context."""
    check_answers(row, where)
    tokens, tags = (len(row.get(role, ())) for role in ("tokens", "tags"))
    if "tags" in row and tags != tokens:
        raise UserError(
            f"{where}: {tokens} tokens, but {tags} tags (data.tokens, data.tags): mend the row, or remove it"
        )


def running_text(value: str | list[str] | None) -> str:
    """The value of a role as one text: tokens with a space between them, and nothing as an empty text."""
    return " ".join(value) if isinstance(value, list) else value or ""


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
    """The columns that exist, nested ones as paths; of those that could be meant the nearest is proposed.

    Not meant are those that another role has ``taken``, lists for a text, and texts for a list.
    """
    names = list(_paths(present))
    if names == ["text"] and role in ("source", "target") and ".txt" in where:
        return UserError(
            f"{where}: a .txt has one text a line, no pairs; give both sides in one .tsv, .csv, .jsonl or .parquet. Of two "
            "files: paste SOURCE.txt TARGET.txt > pairs.tsv, and data.train=pairs.tsv data.columns=[source,target]"
        )
    if names == ["text"] and role == "label" and ".txt" in where:
        return UserError(
            f"{where}: a .txt has one text a line, no labels. To learn from the text alone: "
            f"groundup pretrain data=files data.train={where}; for labels give a .csv, .tsv, .jsonl or .parquet"
        )
    if names == ["tokens"] and role == "tags" and ".conll" in where:
        return UserError(f"{where}: a word a line, and no tags; write a tag behind each word, after a tab")
    free = [name for name in names if name not in taken]
    if len(names) == 1 and (mark := next((mark for mark in DELIMITERS if mark in names[0]), None)):
        typed = "tab" if mark == "\t" else f"'{mark}'"
        return UserError(f"{where}: no column '{column}', one column '{names[0]}'. Try data.delimiter={typed}")
    if column in names:
        return UserError(
            f"{where}: column '{column}' has another role; it has {shortened(names)}. Name data.{role}=COLUMN"
        )
    either = role == "references" or ROLES[role].listed
    fit = [name for name in free if _holds_lists(present.get(name)) == ROLES[role].many or either]
    if ROLES[role].number:
        fit = [name for name in fit if _is_number(str(lookup(present, name)))]
    near = difflib.get_close_matches(column, fit, n=1, cutoff=0.5)
    near = near or sorted(fit, key=lambda name: -_size(present, name))[:1]
    hint = (
        "; try " + " ".join(map(shell_word, _named(role, near[0], free)))
        if near
        else f". {_ADVICE.format(column)}"
        if ROLES[role].many
        else ""
    )
    return UserError(f"{where}: no column '{column}'; it has {shortened(names) or 'none'}{hint}")


def _named(role: str, column: str, names: Collection[str]) -> list[str]:
    """Words that name a column, and the second text of a pair where it is called like the first."""
    second = second_column(column, names) if role == "text" else None
    return [f"data.{role}={column}", *([f"data.text_pair={second}"] if second else [])]


def _size(row: Mapping[str, Any], name: str) -> int:
    """Characters of a column that holds a text: of several it is more likely the text than a name or a number."""
    value = lookup(row, name)
    return len(value) if isinstance(value, str) else 0


def usual_column(role: str, row: Mapping[str, Any], where: str, first: str, taken: Collection[str]) -> str:
    """The column that is called ``first``, or the only one with a usual name of the role.

    Raises UserError: no column, or several, could be meant.
    """
    free = [str(name) for name in row if name not in taken]
    usual = [name for name in free if plain_name(name) in ROLES[role].usual.split()]
    exact = [name for name in usual if plain_name(name) == role]
    for choice in ([first] if first in free else [], exact, usual):
        if len(choice) == 1:
            return choice[0]
    if usual:
        choices = " or ".join(shell_word(f"data.{role}={name}") for name in usual)
        raise UserError(f"{where}: which column is the {role}? Try {choices}")
    raise missing_column(role, role, row, where, taken)


def second_column(first: str, columns: Iterable[str]) -> str | None:
    """Of ``columns`` that of the second text of pairs whose first is ``first``: ``sentence2`` of ``sentence1``; None: none."""
    name = plain_name(first)
    second = {"text": "text_pair", "premise": "hypothesis"}.get(name)
    for ending, other in (("1", "2"), ("_a", "_b")):
        if name.endswith(ending):
            second = name.removesuffix(ending) + other
    found = [str(column) for column in columns if plain_name(str(column)) == second]
    return found[0] if len(found) == 1 else None


def label_text(value: Any) -> str:
    """The name of a class: the same for 1 and 1.0, be they numbers or, as spreadsheets write them, texts."""
    name = name_text(value)
    return match[1] or match[2] if (match := _WHOLE.fullmatch(name)) else name


def name_text(value: Any) -> str:
    """A name: the same for the numbers 1 and 1.0, and for an accent that is part of its letter or stands after it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return unicodedata.normalize("NFC", valid_unicode(str(value))).strip()


def _holds_lists(value: Any) -> bool:
    """Whether a value is a list, or the type of a column of lists on the hub."""
    return isinstance(value, list) or hasattr(value, "feature")


def _paths(row: Mapping[str, Any]) -> Iterator[str]:
    for name, value in row.items():
        if isinstance(value, Mapping) and value:
            yield from (f"{name}.{inner}" for inner in _paths(value))
        else:
            yield str(name)


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # NaN


def _filled(value: Any, role: str, column: str, where: str) -> Any:
    """The value, or an empty text where none is needed."""
    needed = role == "group" or ROLES[role].number
    if not _is_missing(value) and not (needed and isinstance(value, str) and not value.strip()):
        return value
    if not ROLES[role].optional:
        raise UserError(f"{where}: no value in column '{column}' (data.{role}): fill it in, or remove the row")
    return ""


def _items(value: Any, role: str, column: str, where: str) -> list[Any]:
    """A list of values. Of an optional role it may be one value, or none: a cell left empty in a table is nothing."""
    if ROLES[role].optional:
        values = value if isinstance(value, list) else [value]
        return [one for one in values if one is not None and one != ""]
    if not isinstance(value, list | tuple):
        kind = "no value" if _is_missing(value) else "a dict" if isinstance(value, Mapping) else "one text"
        raise UserError(f"{where}: column '{column}' (data.{role}) holds {kind}, not a list. {_ADVICE.format(column)}")
    if gap := next((number for number, one in enumerate(value, 1) if _is_missing(one)), None):
        raise UserError(
            f"{where}: no value at place {gap} of column '{column}' (data.{role}): mend the row, or remove it"
        )
    return list(value)


def _number(value: Any, role: str, column: str, where: str) -> float:
    """A finite number, from a number or from a text that holds one."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isfinite(number) and not isinstance(value, bool):
        return number
    shown = repr(value)
    shown = shown if len(shown) <= 42 else shown[:40] + "..."
    near = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(
        r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", near
    ):  # of thousands or of a fraction, which only its writer knows
        advice = "write it without commas between thousands, and with a point before a fraction"
    else:
        near = near.replace(",", ".", 1)
        advice = f"write {near}" if _is_number(near) else "mend the row, or remove it"
    raise UserError(
        f"{where}: column '{column}' (data.{role}) holds {shown}, which is no finite number: {advice}. "
        f"Classes are for task=classification data.label={column}"
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


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
    if role in _CLASSES:
        return label_text(value)
    return name_text(value) if ROLES[role].name else valid_unicode(str(value))
