"""CoNLL: a token a line, its columns apart by tabs or blanks, an empty line after each sentence; CoNLL-U by its columns.

``.conll``: the first column is the token, the last one its tag. ``.conllu`` (https://universaldependencies.org/format.html):
``tokens`` are the forms, ``tags`` the universal parts of speech; ranges such as ``1-2`` and empty nodes are no words.
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
    """A sentence a row. Raises UserError for a line without a tag, or with another number of columns than CoNLL-U has."""
    universal = suffix_of(path) == ".conllu"
    tokens: list[str] = []
    tags: list[str] = []
    begun = 1
    with open_text(path, reading.encoding) as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip("\r\n")
            if not line.strip() or line.startswith("-DOCSTART-"):
                if tokens:
                    yield f"{path} line {begun}", {"tokens": tokens, "tags": tags}
                tokens, tags = [], []
                continue
            if line.startswith("# ") and (universal or not tokens):  # a comment stands before its sentence
                continue
            begun = begun if tokens else number
            found = _universal(line, path, number) if universal else _plain(line, path, number)
            if found is not None:
                tokens.append(found[0])
                tags.append(found[1])
    if tokens:
        yield f"{path} line {begun}", {"tokens": tokens, "tags": tags}


def _plain(line: str, path: Path, number: int) -> tuple[str, str]:
    fields = line.split("\t") if "\t" in line else line.split()
    if len(fields) < 2 or not (fields[0] and fields[-1].strip()):
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
