"""Arrays in a file: plain numbers, stored as they are, and read as anybody's data."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from groundup.errors import UserError
from groundup.system.files import damaged, replacing, require_regular

KINDS = "biuf"  # numbers and truth values
_HEADER = 4096  # bytes of an array's header, at most


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Save arrays of numbers as an uncompressed ``.npz``, in one step."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz``; reading them takes no more memory than the file has bytes.

    Raises:
        UserError: there is no such file, it is damaged, or it holds anything but finite numbers.
    """
    if not path.exists():
        raise UserError(f"there is no {path}, without which the run says nothing. Copy the whole folder")
    require_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
                raise ValueError("it is compressed, and a run never compresses it")
            if sum(part.file_size for part in parts) > path.stat().st_size:
                raise ValueError("its parts are larger than the whole")
            return {part.filename.removesuffix(".npy"): _read(archive, part) for part in parts}
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise damaged(path, " ".join(str(error).split())[:120]) from None


def _read(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(part) as file:
        version: Any = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file, max_header_size=_HEADER)
        content = file.read()
    if dtype.kind not in KINDS or dtype.hasobject:
        raise ValueError(f"{part.filename} holds no numbers")
    count = 1
    for size in shape:
        count *= size
    if count * dtype.itemsize != len(content):
        raise ValueError(f"{part.filename} has {len(content):,} bytes for {shape}")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{part.filename} holds NaN or infinity")
    return array
