"""The command in a process of its own that need not import torch first: a server that has, and has run nothing, forks it."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["groundup.stages.train", "groundup.jobs.finetune", "groundup.jobs.resume"])


class Child:
    """``groundup ARGUMENTS`` as a process; its streams are files beside ``place``, which is a path of its own.

    ``first``: Python that it runs before anything else.
    """

    def __init__(self, arguments: list[str], place: Path, first: str = "") -> None:
        self.out, self.err = place.with_suffix(".out"), place.with_suffix(".err")
        given = (arguments, dict(os.environ), multiprocessing.get_start_method(), self.out, self.err, first)
        self._process = _context.Process(target=_run, args=given)
        self._process.start()
        atexit.register(self.kill)  # or this process would wait for it
        self.pid: int = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        """None while it runs; minus the signal that killed it, as ``subprocess`` has it."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, timeout: float = 120) -> int:
        self._process.join(timeout)
        assert self.returncode is not None, f"still running after {timeout} s: {self.errors()}"
        return self.returncode

    def wait_for(self, happened: Callable[[], bool], timeout: float = 120, every: float = 0.01) -> None:
        """Raises AssertionError if it ends, or time does, before that."""
        deadline = time.monotonic() + timeout
        while not happened():
            assert self.returncode is None and time.monotonic() < deadline, self.errors()
            time.sleep(every)

    def output(self) -> str:
        return self.out.read_text(encoding="utf-8") if self.out.exists() else ""

    def errors(self) -> str:
        return self.err.read_text(encoding="utf-8") if self.err.exists() else ""

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _run(
    arguments: list[str], environment: dict[str, str], start_method: str, out: Path, err: Path, first: str
) -> None:
    os.setsid()
    multiprocessing.set_start_method(start_method, force=True)  # its own children are not the server's
    os.environ.clear()
    os.environ.update(environment)
    for number, file in ((1, out), (2, err)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = ["groundup", *arguments]
    exec(first, {})
    from groundup import cli

    cli.main()
