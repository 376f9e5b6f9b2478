"""Tables of text whose cells are parted by a character: .csv and .tsv. https://www.rfc-editor.org/rfc/rfc4180"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from groundup.data.formats.text import open_text
from groundup.data.reading import Located, Reading, refuse_repeated, shortened, suffix_of
from groundup.errors import UserError

SUFFIXES = (".csv", ".tsv")
OPTIONS = ("encoding", "delimiter", "columns")
COLUMNS = ()
DELIMITERS = (",", ";", "\t", "|")  # of .csv files; the later ones are taken when the header has none of the first
_QUOTED = re.compile(r'"(?:[^"]|"")*"?')
_SAMPLE = 20  # lines that show the delimiter where there is no header
_DECLARED = re.compile(r"sep=(.)\r?\n")  # a first line that Excel writes and hides


def read(path: Path, reading: Reading) -> Iterator[Located]:
    """Rows of a table whose first row names the columns, unless ``reading.columns`` does.

    Of a .tsv, cells are parted by tabs and quotes are text; of a .csv the delimiter is found (see ``delimiter_of``).
    Raises UserError: a row of another length than the header, an open quote, two columns of one name.
    """
    suffix, columns = suffix_of(path), reading.columns
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default refuses a text of more than 128 kB
    with open_text(path, reading.encoding, newline="") as file:  # as the csv module asks: it finds the row ends itself
        lines = iter(file)
        first, skipped, declared = _first_line(lines)
        start = [first, *islice(lines, _SAMPLE)]
        found = reading.delimiter or declared or delimiter_of(start, suffix, columns)
        # In a .tsv a quote is text: in most public sets a lone " would otherwise swallow the rows after it.
        plain = suffix == ".tsv" and found == "\t"
        dialect: dict[str, Any] = {"quoting": csv.QUOTE_NONE, "quotechar": None} if plain else {"strict": True}
        reader = csv.reader(chain(start, lines), delimiter=found, **dialect)
        header = list(columns) if columns else None
        for where, cells in _rows(reader, path, skipped):
            if header is None:
                header = _header(cells, where)
            elif len(cells) > 1 and [name.strip() for name in cells] == header:
                continue  # of a file that was put together from several, or beside data.columns
            elif len(cells) != len(header):
                names = f"{'data.columns' if columns else 'the header'} has {len(header)} ({shortened(header)})"
                advice = "put texts with separators in quotes (.csv), or use .jsonl"
                raise UserError(f"{where}: {len(cells)} cell{'s' if len(cells) > 1 else ''}, but {names}; {advice}")
            else:
                yield where, dict(zip(header, cells, strict=True))


def _first_line(lines: Iterator[str]) -> tuple[str, int, str | None]:
    """The first line of the table, how many stand before it, and the delimiter that one of these declares (``sep=;``)."""
    line, skipped, declared = "", 0, None
    for line in lines:
        if match := _DECLARED.fullmatch(line):
            declared = match[1]
        elif line.strip():
            break
        skipped += 1
    return line, skipped, declared


def _rows(reader: Any, path: Path, skipped: int) -> Iterator[tuple[str, list[str]]]:
    """Where a row begins, and its cells; empty lines are left out. ``skipped``: lines before those that are read."""
    while True:
        where = f"{path} line {reader.line_num + skipped + 1}"
        try:
            cells = next(reader, None)
        except csv.Error as error:
            never = "unexpected end" in str(error)
            what = "a quote is never closed" if never else 'a quote in a cell ends it; write "" for one that is text'
            raise UserError(f"{where}: {what}") from error
        if cells is None:
            return
        if cells:
            yield where, cells


def delimiter_of(lines: Sequence[str], suffix: str, columns: Sequence[str] | None = None) -> str:
    """What parts the cells of a table that begins with ``lines``: a tab in a .tsv, in a .csv a comma.

    Of a .csv whose header has no comma it is the semicolon, tab or bar that it has most of; where ``columns`` are given,
    what gives most lines as many cells.
    """
    if suffix == ".tsv":
        return "\t"
    if columns:
        return max(
            DELIMITERS, key=lambda mark: [len(row) for row in csv.reader(lines, delimiter=mark)].count(len(columns))
        )
    outside = _QUOTED.sub("", lines[0])
    return "," if "," in outside else max(DELIMITERS, key=outside.count)


def _header(cells: Sequence[str], where: str) -> list[str]:
    header = [name.strip("\ufeff \t") for name in cells]
    refuse_repeated(header, where)
    return header
