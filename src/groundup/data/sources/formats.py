"""Reading rows out of .txt .csv .tsv .jsonl .parquet files, also .gz."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Literal

from groundup.errors import UserError

FORMATS = (".txt", ".csv", ".tsv", ".jsonl", ".parquet")
Located = tuple[str, dict[str, Any]]  # where it stands (file and line), the raw row


def format_of(path: Path) -> str:
    """``reviews.csv.gz`` -> ``.csv``. Raises UserError for any other ending."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix not in FORMATS:
        hint = " (one JSON object a line, and call it .jsonl)" if suffix == ".json" else ""
        raise UserError(f"{path}: unknown format '{suffix}'; give one of {' '.join(FORMATS)}, also .gz{hint}")
    return suffix


def read(path: Path, txt: Literal["file", "line"]) -> Iterator[Located]:
    """Raw rows, read lazily. Raises UserError: missing, unreadable, not UTF-8, broken line, no rows."""
    suffix = format_of(path)
    if not path.is_file():
        raise _missing(path)
    empty = True
    try:
        if suffix == ".parquet":
            rows = _parquet(path)
        else:
            rows = {".txt": _txt, ".csv": _csv, ".tsv": _tsv, ".jsonl": _jsonl}[suffix](path, txt)
        for row in rows:
            empty = False
            yield row
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: damaged or cut off gzip file ({error}); fetch it again") from error
    except PermissionError as error:
        raise UserError(f"{path}: no permission to read it; try chmod u+r {path}") from error
    if empty:
        raise UserError(f"{path}: no rows; the file is empty or has a header only")


@contextlib.contextmanager
def _open(path: Path, newline: str = "\n") -> Iterator[IO[str]]:
    """Text with its line ends as they are (a lone carriage return ends no line); a byte order mark is dropped."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8-sig", newline=newline) as file:
        yield file


def _txt(path: Path, txt: str) -> Iterator[Located]:
    with _open(path) as file:
        if txt == "file":
            if text := file.read():
                yield str(path), {"text": text}
        else:
            for number, line in enumerate(_lines(file), 1):
                yield f"{path} line {number}", {"text": line}


def _lines(file: IO[str]) -> Iterator[str]:
    r"""Lines without their end, which is \n or \r\n (str.splitlines would also cut at U+2028 and form feeds)."""
    for line in file:
        yield line.removesuffix("\n").removesuffix("\r")


def _jsonl(path: Path, _: str) -> Iterator[Located]:
    with _open(path) as file:
        for number, line in enumerate(_lines(file), 1):
            where = f"{path} line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{where}: broken JSON ({error.msg} at column {error.colno}); mend this line"
                ) from error
            except RecursionError as error:
                raise UserError(f"{where}: JSON nested too deeply") from error
            if not isinstance(row, dict):
                raise UserError(f'{where}: a JSON {type(row).__name__}, not an object such as {{"text": "..."}}')
            yield where, row


def _csv(path: Path, _: str) -> Iterator[Located]:
    yield from _table(path, {"delimiter": ",", "strict": True})


def _tsv(path: Path, _: str) -> Iterator[Located]:
    # Quote characters in a .tsv are text: in most public sets a lone " would otherwise swallow the rows after it.
    yield from _table(path, {"delimiter": "\t", "quoting": csv.QUOTE_NONE, "quotechar": None})


def _table(path: Path, dialect: dict[str, Any]) -> Iterator[Located]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # the default refuses a text of more than 128 kB
    with _open(path, newline="") as file:  # as the csv module asks: it finds the row ends itself
        reader = csv.reader(file, **dialect)
        header: list[str] | None = None
        while True:
            where = f"{path} line {reader.line_num + 1}"
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise UserError(f"{where}: not valid {path.name} ({error}); a quote is open or misplaced") from error
            if cells is None:
                return
            if not cells:  # an empty line
                continue
            if header is None:
                header = [name.strip() for name in cells]
            elif len(cells) != len(header):
                raise UserError(
                    f"{where}: {len(cells)} cells, but the header has {len(header)} ({', '.join(header)}); "
                    "put texts with separators in quotes (.csv), or use .jsonl"
                )
            else:
                yield where, dict(zip(header, cells, strict=True))


def _parquet(path: Path) -> Iterator[Located]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                number += 1
                yield f"{path} row {number}", row
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"{path}: not a parquet file ({error})") from error


def _missing(path: Path) -> UserError:
    if path.is_dir():
        return UserError(f"{path} is a folder: name its files, as in data.train='{path}/*.jsonl'")
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    near = sorted(entry.name for entry in folder.iterdir())[:8] if folder == path.parent else []
    there = f"{folder} has {', '.join(near)}" if near else f"the nearest folder that exists is {folder.absolute()}"
    return UserError(f"no file {path}; {there}. Set data.root=FOLDER, or data.train=FILE and so on")


def _not_utf8(path: Path) -> UserError:
    """Find the first bad byte: the decoder counts from the start of its buffer, not of the file."""
    opener = gzip.open if path.suffix == ".gz" else open
    offset, number, head, guess = 0, 0, b"", "LATIN1"
    with opener(path, "rb") as file:
        for line in file:
            number += 1
            head = head or line[:2]
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                offset += error.start
                guess = "UTF-16" if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else _guess(line)
                break
            offset += len(line)
    source = f"zcat {path} | iconv" if path.suffix == ".gz" else f"iconv {path}"
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    target = plain.with_name(f"{plain.stem}.utf8{plain.suffix}")
    return UserError(
        f"{path}: not UTF-8 at byte {offset} (line {number}). Try: {source} -f {guess} -t UTF-8 > {target}"
    )


def _guess(line: bytes) -> str:
    """GB18030 when the line reads as Chinese in it, else LATIN1, which any byte is."""
    try:
        text = line.decode("gb18030")
    except UnicodeDecodeError:
        return "LATIN1"
    wide = [character for character in text if ord(character) > 127]
    return "GB18030" if wide and all("\u3000" <= c <= "\u9fff" or "\uff00" <= c <= "\uffef" for c in wide) else "LATIN1"
