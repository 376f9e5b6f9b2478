"""Reading rows out of .txt .csv .tsv .jsonl .parquet files, also .gz."""

from __future__ import annotations

import csv
import gzip
import json
import re
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from groundup.data.sources.encodings import kind_of, known_encoding, open_text
from groundup.errors import UserError

DELIMITERS = (",", ";", "\t", "|")  # of .csv files; the later ones are taken when the header has none of the first
_QUOTED = re.compile(r'"(?:[^"]|"")*"?')
_SAMPLE = 20  # lines that show the delimiter where there is no header
_SHOWN = 12  # columns that a message lists
_DECLARED = re.compile(r"sep=(.)\r?\n")  # a first line that Excel writes and hides


def known_delimiter(text: str) -> str:
    r"""One character; ``tab`` and ``\t`` stand for themselves. Raises UserError for anything else."""
    delimiter = {"tab": "\t", r"\t": "\t"}.get(text, text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UserError(f"data.delimiter={text}: must be one character. Try data.delimiter=';' or data.delimiter=tab")
    return delimiter


def read_table(
    path: Path, suffix: str, encoding: str | None, delimiter: str | None, columns: Sequence[str] | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line, row) of a table whose first row names the columns, unless ``columns`` does.

    suffix: of a .tsv, cells are parted by tabs and quotes are text; else the delimiter is found (see ``delimiter_of``).
    Raises UserError: a row of another length than the header, an open quote, two columns of one name.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default refuses a text of more than 128 kB
    with open_text(path, encoding, newline="") as file:  # as the csv module asks: it finds the row ends itself
        lines, skipped, first, declared = iter(file), 0, "", None
        for first in lines:
            if match := _DECLARED.fullmatch(first):
                declared = match[1]
            elif first.strip():
                break
            skipped += 1
        start = [first, *islice(lines, _SAMPLE)]
        found = delimiter or declared or delimiter_of(start, suffix, columns)
        # In a .tsv a quote is text: in most public sets a lone " would otherwise swallow the rows after it.
        plain = suffix == ".tsv" and found == "\t"
        dialect: dict[str, Any] = {"quoting": csv.QUOTE_NONE, "quotechar": None} if plain else {"strict": True}
        reader = csv.reader(chain(start, lines), delimiter=found, **dialect)
        header = list(columns) if columns else None
        while True:
            where = f"{path} line {reader.line_num + skipped + 1}"
            try:
                cells = next(reader, None)
            except csv.Error as error:
                never = "unexpected end" in str(error)
                what = (
                    "a quote is never closed" if never else 'a quote in a cell ends it; write "" for one that is text'
                )
                raise UserError(f"{where}: {what}") from error
            if cells is None:
                return
            if not cells:  # an empty line
                continue
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


def refuse_repeated(names: Sequence[str], where: str) -> None:
    """Raises UserError for two columns of one name. A spreadsheet may leave several without any."""
    if twice := next((name for name, count in Counter(names).items() if count > 1 and name), None):
        raise UserError(f"{where}: two columns are called '{twice}'; rename one of them")


def shortened(names: Sequence[str]) -> str:
    """Names of columns for a message, a dozen at most; blanks at an end are shown by quotes."""
    shown = [repr(name) if name != name.strip() or not name else name for name in names[:_SHOWN]]
    return ", ".join(shown) + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")


FORMATS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")
Located = tuple[str, dict[str, Any]]  # where it stands (file and line), the raw row


@dataclass(frozen=True)
class Reading:
    r"""What files do not say of themselves. Raises UserError for values that mean nothing.

    txt: a .txt is one document (``file``), or a row a ``line``. encoding: of files that are not UTF-8 (nor begin with a
    byte order mark). delimiter: of .csv and .tsv, ``tab`` or ``\t`` for a tab; None: see ``tables.delimiter_of``.
    columns: names of the columns of .csv and .tsv that have no header.
    """

    txt: Literal["file", "line"] = "file"
    encoding: str | None = None
    delimiter: str | None = None
    columns: Sequence[str] | None = None

    def __post_init__(self) -> None:
        values = {
            "encoding": None if self.encoding is None else known_encoding(self.encoding),
            "delimiter": None if self.delimiter is None else known_delimiter(self.delimiter),
            "columns": tuple(self.columns) if self.columns else None,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        refuse_repeated(self.columns or (), "data.columns")

    def refuse_idle(self, files: Sequence[str]) -> None:
        """Raises UserError for an option that none of the files can follow."""
        suffixes = {Path(name.removesuffix(".gz")).suffix.lower() for name in files}
        unknown = suffixes - {*FORMATS}  # of a pattern, as in parts/*
        serves = {"encoding": {*FORMATS} - {".parquet"}, "delimiter": {".csv", ".tsv"}, "columns": {".csv", ".tsv"}}
        for name, formats in serves.items():
            if getattr(self, name) is not None and not suffixes & (formats | unknown):
                raise UserError(
                    f"data.{name} is for {' '.join(sorted(formats))} files, and the data has none. Leave data.{name} out"
                )


def format_of(path: Path) -> str:
    """``reviews.csv.gz`` -> ``.csv``. Raises UserError for any other ending."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in FORMATS:
        hint = " (one JSON object a line, and call it .jsonl)" if suffix == ".json" else ""
        raise UserError(f"{path}: unknown format '{suffix}'; give one of {' '.join(FORMATS)}, also .gz{hint}")
    return suffix


def read(path: Path, reading: Reading) -> Iterator[Located]:
    """Raw rows, read lazily. Raises UserError: missing, unreadable, in another encoding, broken, changing, no rows."""
    suffix = format_of(path)
    empty = True
    try:
        if not path.is_file():
            raise _missing(path)
        before = path.stat()
        if suffix == ".parquet":
            rows = _parquet(path)
        elif suffix == ".txt":
            rows = _txt(path, reading)
        elif suffix == ".jsonl":
            rows = _jsonl(path, reading)
        else:
            rows = read_table(path, suffix, reading.encoding, reading.delimiter, reading.columns)
        for row in rows:
            empty = False
            yield row
        after = path.stat()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged or cut off gzip file ({error}); fetch it again") from error
    except OSError as error:
        advice = f"; try chmod u+r {path}" if isinstance(error, PermissionError) else ""
        raise UserError(f"{path} cannot be read: {error.strerror or error}{advice}") from error
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UserError(f"{path} was changed while it was read; wait until it is complete")
    if empty:
        raise UserError(f"{path}: no rows; the file is empty or has a header only")


def _txt(path: Path, reading: Reading) -> Iterator[Located]:
    with open_text(path, reading.encoding) as file:
        if reading.txt == "file":
            if text := file.read():
                yield str(path), {"text": text}
        else:
            for number, line in enumerate(file, 1):
                yield f"{path} line {number}", {"text": _without_end(line)}


def _without_end(line: str) -> str:
    r"""A line without its end, which is \n or \r\n (str.splitlines would also cut at U+2028 and form feeds)."""
    return line.removesuffix("\n").removesuffix("\r")


def _jsonl(path: Path, reading: Reading) -> Iterator[Located]:
    with open_text(path, reading.encoding) as file:
        for number, line in enumerate(file, 1):
            where = f"{path} line {number}"
            if not line.strip():
                continue
            try:
                row = _JSON.decode(line)
            except json.JSONDecodeError as error:
                reason = f"{error.msg.removesuffix(' at')} at column {error.colno}"
                advice = "write one object a line" if line.strip() in ("{", "[") else "mend this line"
                raise UserError(f"{where}: broken JSON ({reason}); {advice}") from error
            except ValueError as error:  # a key that stands twice; a number longer than Python reads
                reason = str(error).split(";")[0]
                raise UserError(f"{where}: {reason[0].lower()}{reason[1:]}; mend this line") from error
            except RecursionError as error:
                raise UserError(f"{where}: JSON nested too deeply") from error
            if not isinstance(row, dict):
                kind = "array" if isinstance(row, list) else type(row).__name__
                raise UserError(f'{where}: a JSON {kind}, not an object such as {{"text": "..."}}; one object a line')
            yield where, row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"two values for '{next(name for name in names if names.count(name) > 1)}'")
    return row


_JSON = json.JSONDecoder(strict=False, object_pairs_hook=_object)  # strict: no tabs in texts


def _parquet(path: Path) -> Iterator[Located]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        refuse_repeated(file.schema_arrow.names, str(path))
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield f"{path} row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        with open(path, "rb") as start:
            kind = kind_of(path, start.read(32))
        if kind and "parquet" not in kind:
            raise UserError(f"{path} is {kind}") from error
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise UserError(f"{path}: not a parquet file, or a damaged one ({reason}); fetch it again") from error


def _missing(path: Path) -> UserError:
    if path.is_dir():
        return UserError(f"{path} is a folder: name its files, as in data.train='{path}/*.jsonl'")
    if path.exists():
        return UserError(f"{path} is a pipe or a device: write its text to a file first")
    if path.is_symlink():
        return UserError(f"{path} is a link to {path.readlink()}, which is not there")
    folder = path.parent
    while not folder.is_dir():  # the root is one
        folder = folder.parent
    near = sorted(entry.name for entry in folder.iterdir())[:8] if folder == path.parent else []
    name = "the current folder" if folder == Path() else folder
    there = f"{name} has {', '.join(near)}" if near else f"the nearest folder that exists is {folder.absolute()}"
    return UserError(f"no file {path}; {there}. Set data.root=FOLDER, or data.train=FILE and so on")
