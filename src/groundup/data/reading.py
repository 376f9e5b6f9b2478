"""Rows out of files. A module of ``data/formats`` says how files of a format are read; it is found by looking there."""

from __future__ import annotations

import contextlib
import functools
import gzip
import importlib
import pkgutil
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from groundup.data import formats
from groundup.errors import UserError

_OF_TAGS = (
    ".bio",
    ".bmes",
    ".bioes",
    ".iob",
    ".iob2",
    ".char",
    ".ner",
)  # what files of a word and its tag a line are called
FOLDER = "folder"  # what a document's folder is called where it names the class
_SHOWN = 12  # columns that a message lists
Located = tuple[str, dict[str, Any]]  # where it stands (file and line), the raw row


class Format(Protocol):
    """What a module of ``data/formats`` says of itself.

    SUFFIXES: how its files end, before a ``.gz``. OPTIONS: the fields of ``Reading`` that it follows. COLUMNS: what its
    columns are called where every file of the format has the same.
    """

    SUFFIXES: tuple[str, ...]
    OPTIONS: tuple[str, ...]
    COLUMNS: tuple[str, ...]

    def read(self, path: Path, reading: Reading) -> Iterator[Located]:
        """Raw rows, read lazily. Raises UserError for what is wrong in the file."""
        ...


def all_formats() -> dict[str, Format]:
    """Suffix -> its format, in the order of the suffixes."""
    return _found_in(tuple(formats.__path__))


@functools.cache  # data may be ten thousand files
def _found_in(folders: tuple[str, ...]) -> dict[str, Format]:
    names = [module.name for module in pkgutil.iter_modules(folders)]
    modules = [cast(Format, importlib.import_module(f"{formats.__name__}.{name}")) for name in names]
    found = {suffix: module for module in modules for suffix in module.SUFFIXES}
    return {suffix: found[suffix] for suffix in sorted(found)}


def suffix_of(path: Path) -> str:
    """``Reviews.CSV.gz`` -> ``.csv``."""
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def format_of(path: Path) -> Format:
    """The format of a file, by its name. Raises UserError for any other ending."""
    known, suffix = all_formats(), suffix_of(path)
    if suffix not in known:
        if not path.is_file():
            raise _missing(path)
        raise UserError(
            f"{path}: unknown format '{suffix}'; give one of {' '.join(known)}, also .gz. If it is one of these, "
            f"rename it, as in {path.name}.{'conll' if suffix in _OF_TAGS else 'txt'}"
        )
    return known[suffix]


@dataclass
class Reading:
    r"""What files do not say of themselves. Raises UserError for values that mean nothing.

    txt: a .txt is one document (``file``), or a row a ``line``. encoding: of files that are not UTF-8 (nor begin with a
    byte order mark). delimiter: of .csv and .tsv, ``tab`` or ``\t`` for a tab; None: see ``delimited.delimiter_of``.
    columns: names of the columns of .csv and .tsv that have no header.
    """

    txt: Literal["file", "line"] = "file"
    encoding: str | None = None
    delimiter: str | None = None
    columns: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.encoding is not None:
            _check_encoding(self.encoding)
        if self.delimiter is not None:
            self.delimiter = _known_delimiter(self.delimiter)
        self.columns = tuple(self.columns or ()) or None
        refuse_repeated(self.columns or (), "data.columns")

    def is_document(self, path: Path) -> bool:
        """Whether the file is one row: a text that is read as a whole."""
        return self.txt == "file" and "txt" in format_of(path).OPTIONS

    def refuse_idle(self, files: Sequence[str]) -> None:
        """Raises UserError for an option that none of the files can follow."""
        known = all_formats()
        suffixes = {suffix_of(Path(name)) for name in files}
        for option in ("encoding", "delimiter", "columns"):
            fit = [suffix for suffix, format in known.items() if option in format.OPTIONS]
            # A suffix that is not known is that of a pattern, as in parts/*.
            if getattr(self, option) is not None and all(one in known and one not in fit for one in suffixes):
                raise UserError(
                    f"data.{option} is for {' '.join(fit)} files, and the data has none. Leave data.{option} out"
                )


def _check_encoding(name: str) -> None:
    """Raises UserError when Python has no such encoding of text."""
    try:
        with contextlib.suppress(UnicodeError):
            b"a".decode(name)
    except (LookupError, ValueError):
        raise UserError(
            f"data.encoding={name}: no such encoding. Try gb18030, big5, shift_jis, euc_kr, cp1252, cp1251 or utf-16"
        ) from None


def _known_delimiter(text: str) -> str:
    r"""One character; ``tab`` and ``\t`` stand for themselves. Raises UserError for anything else."""
    delimiter = {"tab": "\t", r"\t": "\t"}.get(text, text)
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise UserError(f"data.delimiter={text}: must be one character. Try data.delimiter=';' or data.delimiter=tab")
    return delimiter


def refuse_repeated(names: Sequence[str], where: str) -> None:
    """Raises UserError for two columns of one name. A spreadsheet may leave several without any."""
    if twice := next((name for name, count in Counter(names).items() if count > 1 and name), None):
        raise UserError(f"{where}: two columns are called '{twice}'; rename one of them")


def shortened(names: Sequence[str]) -> str:
    """Names of columns for a message, a dozen at most; blanks at an end, and commas, are shown by quotes."""
    shown = [repr(name) if name != name.strip() or not name or "," in name else name for name in names[:_SHOWN]]
    return ", ".join(shown) + (f", ... ({len(names)} in all)" if len(names) > _SHOWN else "")


def read(path: Path, reading: Reading) -> Iterator[Located]:
    """Raw rows, read lazily. Raises UserError: missing, unreadable, in another encoding, broken, changing, no rows."""
    format = format_of(path)
    empty = True
    try:
        if not path.is_file():
            raise _missing(path)
        before = path.stat()
        for row in format.read(path, reading):
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
        raise UserError(f"{path}: no rows; the file is empty or has a header only. Leave it out")


def _missing(path: Path) -> UserError:
    if path.is_dir():
        inside = [suffix for suffix in map(suffix_of, sorted(path.iterdir())) if suffix in all_formats()]
        example = f", as in data.train='{path}/*{inside[0]}'" if inside else ""
        if not inside and any(path.glob("*/*.txt")):
            example = f", as in data.train='{path}/*/*.txt'; each folder a class: data.label={FOLDER}"
        return UserError(f"{path} is a folder: name its files{example}")
    if path.exists():
        return UserError(f"{path} is a pipe or a device: write its text to a file first")
    if path.is_symlink():
        return UserError(f"{path} is a link to {path.readlink()}, which is not there")
    folder = path.parent
    while not folder.is_dir():  # the root is one
        folder = folder.parent
    names = sorted(entry.name for entry in folder.iterdir()) if folder == path.parent else []
    near = [*dict.fromkeys([*get_close_matches(path.name, names), *names])][:8]
    name = "the current folder" if folder == Path() else folder
    there = f"{name} has {', '.join(near)}" if near else f"the nearest folder that exists is {folder.absolute()}"
    return UserError(f"no file {path}; {there}. Set data.root=FOLDER, or data.train=FILE and so on")
