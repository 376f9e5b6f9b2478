"""A folder of finished results, each under a key made from everything that went into it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from groundup.errors import UserError

_ABANDONED = 24 * 3600  # seconds after which a temporary folder belongs to a process that was killed


def default_root() -> Path:
    """``$GROUNDUP_CACHE``, else ``groundup`` under ``$XDG_CACHE_HOME`` or ``~/.cache``, else the temporary folder."""
    if named := os.environ.get("GROUNDUP_CACHE"):
        return Path(named).expanduser()
    root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "groundup"
    try:
        root.mkdir(parents=True, exist_ok=True)
        return root
    except OSError:  # a read-only home, as in many containers
        return Path(tempfile.gettempdir()) / "groundup-cache"


class Cache:
    """Content-addressed folders: built beside their place, flushed to disk, then renamed into it.

    A folder that has its final name is therefore complete, whatever was killed and whenever. Two processes that build
    the same key at once do the work twice; the first to finish wins and both get the same folder.
    """

    def __init__(self, root: Path | str | None = None):
        self.root = Path(root) if root is not None else default_root()

    @staticmethod
    def key(*parts: Any) -> str:
        """32 hex digits of SHA-256 over the parts (anything JSON can write; order in dicts does not matter)."""
        text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def get(self, key: str, build: Callable[[Path], None]) -> Path:
        """The finished folder of ``key``; ``build(folder)`` fills it when there is none yet.

        Raises UserError when the disk is full or the cache folder cannot be written.
        """
        target = self.root / key
        if target.is_dir():
            return target
        temporary = None
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self._sweep()
            temporary = Path(tempfile.mkdtemp(prefix=f".building-{key}-", dir=self.root))
            build(temporary)
            _flush(temporary)
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
            if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM) and temporary is None:
                raise UserError(f"cannot write to the cache {self.root}: set GROUNDUP_CACHE=FOLDER") from error
            raise
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
        return target

    def _sweep(self) -> None:
        """Remove what killed processes left behind."""
        for leftover in self.root.glob(".building-*"):
            try:
                if time.time() - leftover.stat().st_mtime > _ABANDONED:
                    shutil.rmtree(leftover, ignore_errors=True)
            except OSError:  # its owner has just removed it
                continue


def _flush(folder: Path) -> None:
    """Force the files' bytes to disk: a rename that survives a power cut must not name empty files."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as file:
                os.fsync(file.fileno())
