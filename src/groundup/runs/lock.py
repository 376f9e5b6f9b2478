"""One process writes a run folder at a time: ``run.lock`` says which."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from groundup.errors import UserError
from groundup.system.files import full_disk

log = logging.getLogger(__name__)
NAME = "run.lock"


def this_process() -> dict[str, Any]:
    """Host, pid and start: numbers of processes are used again, the two together are not."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": born(os.getpid())}


def born(pid: int) -> str | None:
    """When a process of this machine began, as the system counts; None where there is none, or the system does not say."""
    try:
        if sys.platform == "linux":
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
            return f"{boot}/{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
        if os.name == "posix":
            said = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True).stdout
            return said.strip() or None
    except OSError:
        pass
    return None


def lives(owner: Mapping[str, Any]) -> bool:
    """Whether the process that ``this_process`` described still runs; True where that cannot be known (another machine).

    ``owner`` comes from a file that anyone may have written. Nothing in it is sent a signal.
    """
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or os.name != "posix":
        return True
    if type(pid) is not int or pid <= 0:
        return False
    try:
        os.kill(pid, 0)  # asks only
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    now = born(pid)
    return now is None or owner.get("born") == now


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder belongs to this process while the block runs. The lock of a process that is gone is taken over.

    Raises:
        UserError: another process has it, or one of another machine may have it.
    """
    file, mine = folder / NAME, this_process()
    if not _create(file, mine):
        _take_over(file, mine)
    try:
        yield
    finally:
        if _read(file) == mine:
            file.unlink(missing_ok=True)


def check_unlocked(folder: Path) -> None:
    """Raises UserError as ``locked`` would, and takes nothing."""
    if said := written_by(folder):
        raise UserError(said)


def written_by(folder: Path) -> str | None:
    """The line about a process that has the folder now; None where it is free."""
    file = folder / NAME
    return refusal(file, owner) if os.path.lexists(file) and lives(owner := _read(file)) else None


def _create(file: Path, owner: Mapping[str, Any]) -> bool:
    """False when the file is there already. O_EXCL holds on network file systems too, and follows no link."""
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return False
    try:
        with open(handle, "w", encoding="utf-8") as stream:
            stream.write(json.dumps(owner) + "\n")
    except OSError as error:
        file.unlink()  # an empty one would say that somebody has the folder, for ever
        raise full_disk(error, file) or error from error
    return True


def _read(file: Path) -> dict[str, Any]:
    """What a lock says; nothing for one that is not ours to read: a link, a pipe, some other text."""
    try:
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(handle, "rb") as stream:
            owner = json.loads(stream.read(4096))
    except (OSError, ValueError, TypeError, RecursionError):  # TypeError: nothing to read in a pipe
        owner = None
    return owner if isinstance(owner, dict) else {}


def _take_over(file: Path, mine: Mapping[str, Any]) -> None:
    owner = _read(file)
    if lives(owner):
        raise UserError(refusal(file, owner))
    aside = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    with contextlib.suppress(FileNotFoundError):
        os.rename(file, aside)  # of two that try, one gets it
        if _read(aside) != owner:  # the other was faster and has made its own: give it back
            with contextlib.suppress(FileExistsError):
                os.link(aside, file)
        aside.unlink()
    if not _create(file, mine):
        raise UserError(refusal(file, _read(file)))
    log.info("took over the lock of process %s, which is gone", owner.get("pid"))


def refusal(file: Path, owner: Mapping[str, Any]) -> str:
    """The line for a run that another process has."""
    pid, host = owner.get("pid"), owner.get("host")
    if host == socket.gethostname():
        return f"{file.parent} is being written by process {pid}. Wait for it, or stop it: kill {pid}"
    named = isinstance(pid, int) and re.fullmatch(r"[\w.-]{1,99}", str(host))
    where = f"process {pid} on {host}" if named else "another process"
    return f"{file.parent} is locked by {where}. If that no longer runs: rm {file}"
