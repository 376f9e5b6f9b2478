"""From the names of files, as they are typed, to the files."""

from __future__ import annotations

import glob
import hashlib
import os
from pathlib import Path

from groundup.data.reading import Reading, read
from groundup.errors import UserError


def path_of(name: str) -> Path:
    """``~`` is the home folder; where there is none, it is a name like any other. Raises UserError for a name that is not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{name!a}: this name is not UTF-8, so no run could write it down. Rename the file") from None
    return Path(os.path.expanduser(name))


def files_of(name: str, root: Path, key: str) -> list[Path]:
    """The file of a name below ``root``, or those that it matches as a pattern, sorted.

    Raises UserError for an address and for a pattern without a file; ``key`` is what names the file.
    """
    if "://" in name:
        raise UserError(f"{name} is an address: download it, and name the file ({key})")
    path = root / path_of(name)
    if not glob.has_magic(name) or os.path.exists(path):
        return [path]
    pattern = os.path.join(glob.escape(str(root)), path_of(name))  # only the name is a pattern
    found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise UserError(f"no file matches {path} ({key})")
    return [Path(one) for one in found]


def file_hash(path: Path) -> str:
    """SHA-256 of what a file holds. Raises UserError for one that cannot be read, in the words of ``reading``."""
    try:
        if path.is_file():
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:  # which reading puts into words
        pass
    next(read(path, Reading()))
    raise UserError(f"{path} was there a moment ago: run this again")
