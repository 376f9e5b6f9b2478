"""Reading rows out of .txt .csv .tsv .jsonl .parquet files, also .gz."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from groundup.data.sources.encodings import kind_of, known_encoding, open_text
from groundup.data.sources.tables import known_delimiter, read_table, refuse_repeated
from groundup.errors import UserError

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
