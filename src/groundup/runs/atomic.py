"""Files that are either the old one or the new one, never half of either."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from groundup.errors import UserError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success it is flushed to disk and renamed to ``path``.

    The temporary file is hidden, ends in ``.tmp``, has a name that nobody can foresee (so that no link waits there), and is
    removed when the body fails. A link at ``path`` itself is replaced, and what it points to stays as it is.

    Raises:
        UserError: the disk is full.
        OSError: it names ``path``, not the temporary file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = new_beside(path)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # where nothing may be written, nothing may be removed
            temporary.unlink(missing_ok=True)
        if error.filename in (None, str(temporary)):
            error.filename = str(path)
        raise full_disk(error, path) or error from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace the content of ``path`` (UTF-8) in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def new_beside(path: Path) -> Path:
    """A hidden path in the folder of ``path`` that nobody can foresee: nothing is there, and no link waits there."""
    return path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")


def no_link(path: str | os.PathLike[str], flags: int) -> int:
    """Opener for ``open(..., opener=no_link)`` that refuses to follow a link at ``path`` (OSError ELOOP)."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def full_disk(error: OSError, path: Path) -> UserError | None:
    """The line to show when ``error`` means that nothing more fits, else None."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return UserError(f"no space left on the disk of {path.parent}: {path.name} was not written. Free some and go on")


def _sync_folder(folder: Path) -> None:
    """A rename survives a power cut only once the folder itself is on disk."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems cannot sync a folder
        pass
    finally:
        os.close(handle)
