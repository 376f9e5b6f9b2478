"""CoNLL: a token a line, its columns apart by tabs or blanks, an empty line after each sentence; CoNLL-U by its columns.

``.conll``: the first column is the token, the last one its tag; one column: words without tags. A comment stands before a
sentence and begins with ``# ``; so does the word ``#``, but in as many columns as the other words.
``.conllu`` (https://universaldependencies.org/format.html): ``tokens`` are the forms, ``tags`` the universal parts of speech;
ranges such as ``1-2`` and empty nodes are no words.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from groundup.data.formats.text import open_text
from groundup.data.reading import Located, Reading, suffix_of
from groundup.errors import UserError

SUFFIXES = (".conll", ".conllu")
OPTIONS = ("encoding",)
COLUMNS = ("tokens", "tags")
_FIELDS = 10  # of a line of CoNLL-U


def read(path: Path, reading: Reading) -> Iterator[Located]:
    """A sentence a row. Raises UserError for a line without a tag where others have one, or with another number of columns
    than CoNLL-U has."""
    universal = suffix_of(path) == ".conllu"
    width = _FIELDS if universal else _columns_of_words(path, reading)
    sentence: list[tuple[str, str]] = []
    begun = 1
    with open_text(path, reading.encoding) as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\r\n")
            if _parts(line):
                if sentence:
                    yield f"{path} line {begun}", _row(sentence, width)
                sentence = []
                continue
            if line.startswith("#") if universal else not sentence and _is_comment(line, width):
                continue
            begun = begun if sentence else number
            found = _universal(line, path, number) if universal else _plain(line, path, number, width)
            if found is not None:
                sentence.append(found)
    if sentence:
        yield f"{path} line {begun}", _row(sentence, width)


def _row(sentence: list[tuple[str, str]], width: int) -> dict[str, list[str]]:
    tokens, tags = map(list, zip(*sentence, strict=True))
    return {"tokens": tokens} if width == 1 else {"tokens": tokens, "tags": tags}


def _columns_of_words(path: Path, reading: Reading) -> int:
    """Columns of the first line that can be no comment; 0: there is none."""
    with open_text(path, reading.encoding) as file:
        lines = (line.rstrip("\r\n") for line in file)
        return next((len(_fields(line)) for line in lines if not (_parts(line) or _is_comment(line, 0))), 0)


def _parts(line: str) -> bool:
    """Whether it ends a sentence."""
    return not line.strip() or line.startswith("-DOCSTART-")


def _is_comment(line: str, width: int) -> bool:
    """Before a sentence of words in so many columns; 0: whether it may be one. ``# key = value`` is one in any case."""
    return line.startswith("# ") and (len(_fields(line)) != width or line.split()[2:3] == ["="])


def _fields(line: str) -> list[str]:
    return line.split("\t") if "\t" in line else line.split()


def _plain(line: str, path: Path, number: int, width: int) -> tuple[str, str]:
    fields = _fields(line)
    if width == 1 and len(fields) > 1:
        raise UserError(
            f"{path} line {number}: '{line[:40]}' has {len(fields)} columns, and the first word of the file stands alone; "
            "write a tag behind each word, after a tab, or behind none"
        )
    untagged = width != 1 and (len(fields) < 2 or not fields[-1].strip())
    if untagged or not fields[0]:
        raise UserError(f"{path} line {number}: '{line[:40]}' has no tag; write the token, a tab and its tag")
    return fields[0], fields[-1]


def _universal(line: str, path: Path, number: int) -> tuple[str, str] | None:
    fields = line.split("\t")
    if len(fields) != _FIELDS:
        raise UserError(
            f"{path} line {number}: {len(fields)} columns, and CoNLL-U has {_FIELDS}, apart by tabs. "
            "For tokens and tags alone, call the file .conll"
        )
    return (fields[1], fields[3]) if fields[0].isdigit() else None
