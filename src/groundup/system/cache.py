"""A folder of finished results, each under a key made from everything that went into it."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
import unicodedata
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from groundup.errors import UserError

log = logging.getLogger(__name__)

_ABANDONED = 24 * 3600  # seconds after which a temporary folder belongs to a process that was killed
_CHECKSUMS = "checksums.json"  # in each finished folder: name of a file -> its size and CRC-32
# The last two: a file in the way. A folder of /proc is not found, whoever makes it.
_UNWRITABLE = (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EEXIST)
_PIECE = 1 << 20  # bytes read at a time
_HERE = Path(__file__).parents[1]  # of the package
_CODE = (
    "data/reading.py data/formats/*.py data/roles.py data/rows.py data/sources/*.py data/encoding.py data/ppmi.py "
    "text/*.py"
).split()  # makes ids of files, and vectors of ids


def default_root() -> Path:
    """``$GROUNDUP_CACHE``, else ``groundup`` under ``$XDG_CACHE_HOME`` or ``~/.cache``, else the temporary folder."""
    if named := os.environ.get("GROUNDUP_CACHE"):
        return Path(named).expanduser()
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "groundup"
        root.mkdir(parents=True, exist_ok=True)
        return root
    except (OSError, RuntimeError):  # a read-only home, or none, as in many containers
        return Path(tempfile.gettempdir()) / "groundup-cache"


def code_version(source: object) -> str:
    """Hex digest of the code that reads and cleans a source and makes token ids of it: what is cached depends on it."""
    module = sys.modules.get(type(source).__module__)
    file = Path(getattr(module, "__file__", None) or "")
    of_the_user = [_digest(file)] if file.is_file() and not file.is_relative_to(_HERE) else []
    return Cache.key(_own_code(), of_the_user)


class Cache:
    """Content-addressed folders: built beside their place, flushed to disk, then renamed into it.

    A folder that has its final name is therefore complete, whatever was killed and whenever. It is checked each time
    that it is asked for (half a second of processor time a GB); one that has been damaged since is built anew. Two
    processes that build the same key at once do the work twice; the first to finish wins and both get the same folder.
    """

    def __init__(self, root: Path | str | None = None):
        self.root = Path(root) if root is not None else default_root()

    @staticmethod
    def key(*parts: Any) -> str:
        """32 hex digits of SHA-256 over the parts (anything JSON can write; order in dicts does not matter)."""
        text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def get(self, key: str, build: Callable[[Path], None]) -> Path:
        """The finished folder of ``key``; ``build(folder)`` fills it when there is none yet, or a damaged one.

        Raises UserError when the disk is full or the cache folder cannot be written.
        """
        target = self.root / key
        damaged = _damaged(target) if target.is_dir() else None
        if target.is_dir() and damaged is None:
            return target
        temporary = None
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._sweep()
            if damaged is not None:
                log.warning("the cache's %s is damaged (%s): built anew", target, damaged)
                self._discard(target)
            temporary = Path(tempfile.mkdtemp(prefix=f".building-{key}-", dir=self.root))
            build(temporary)
            _seal(temporary)
            try:
                os.rename(temporary, target)
            except OSError:
                if not target.is_dir():
                    raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UserError(
                    f"no space left on the disk of the cache {self.root}: free some, or set GROUNDUP_CACHE=FOLDER"
                ) from error
            if error.errno in _UNWRITABLE and temporary is None:
                raise UserError(f"cannot write to the cache {self.root}: set GROUNDUP_CACHE=FOLDER") from error
            raise
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
        return target

    def _discard(self, target: Path) -> None:
        """Remove a damaged folder, but not a whole one that another process has just put in its place."""
        aside = Path(tempfile.mkdtemp(prefix=f".building-{target.name}-", dir=self.root))
        try:
            os.rename(target, aside / "found")
            if _damaged(aside / "found") is None:
                os.rename(aside / "found", target)
        except (FileNotFoundError, FileExistsError):  # another process was quicker
            pass
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def _sweep(self) -> None:
        """Remove what killed processes left behind."""
        for leftover in self.root.glob(".building-*"):
            try:
                if time.time() - leftover.stat().st_mtime > _ABANDONED:
                    shutil.rmtree(leftover, ignore_errors=True)
            except OSError:  # its owner has just removed it
                continue


def _seal(folder: Path) -> None:
    """Write down what the files hold, and force all to disk: a rename that survives a power cut must not name half a file."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    sums = {path.relative_to(folder).as_posix(): [path.stat().st_size, _checksum(path)] for path in paths}
    (folder / _CHECKSUMS).write_text(json.dumps(sums), encoding="utf-8")
    for path in [*paths, folder / _CHECKSUMS]:
        with open(path, "rb+") as file:
            os.fsync(file.fileno())


def _damaged(folder: Path) -> str | None:
    """What is wrong with a finished folder, None if nothing is."""
    try:
        sums: dict[str, list[int]] = json.loads((folder / _CHECKSUMS).read_bytes())
        if not sums:
            return f"{_CHECKSUMS} is empty"
        for name, (size, checksum) in sums.items():
            if (found := (folder / name).stat().st_size) != size:
                return f"{name} has {found:,} bytes, not {size:,}"
            if _checksum(folder / name) != checksum:
                return f"{name} was changed"
    except FileNotFoundError as error:
        return f"{Path(str(error.filename)).name} is missing"
    except (OSError, ValueError, TypeError, AttributeError) as error:
        return f"{_CHECKSUMS}: {error}"
    return None


def _checksum(path: Path) -> int:
    """CRC-32, which finds what disks and copies do to a file."""
    value = 0
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            value = zlib.crc32(piece, value)
    return value


@functools.cache
def _own_code() -> str:
    paths = sorted(path for pattern in _CODE for path in _HERE.glob(pattern))
    return Cache.key([_digest(path) for path in paths], unicodedata.unidata_version)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
