"""How a job ends when it is told to stop: in order, with an exit code that says whether to try again."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# 75: "try again later" (sysexits.h), for schedulers; 130: what a shell reports for Ctrl-C
EXIT_CODES = {"SIGTERM": 75, "SIGHUP": 75, "SIGUSR1": 75, "SIGINT": 130}


class Interrupted(SystemExit):
    """A signal ended the job. ``step``: the optimizer step of the ``last.ckpt`` that was written for it, if one was."""

    def __init__(self, signal_name: str, step: int | None = None) -> None:
        super().__init__(EXIT_CODES[signal_name])
        self.signal_name = signal_name
        self.step = step

    def __str__(self) -> str:
        name = "Ctrl-C" if self.signal_name == "SIGINT" else self.signal_name
        return name if self.step is None else f"{name}; saved at step {self.step}"


def on_signals(handler: Callable[[int, Any], None], names: tuple[str, ...]) -> dict[int, Any]:
    """Install ``handler`` and return what was there before. Signals that the user has ignored (``nohup``) stay ignored."""
    before: dict[int, Any] = {}
    if threading.current_thread() is not threading.main_thread():
        return before
    for name in names:
        number = getattr(signal, name, None)  # Windows has few of them
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    return before


@contextmanager
def ending_in_order() -> Iterator[None]:
    """SIGTERM, SIGHUP and SIGUSR1 raise ``Interrupted`` while the block runs, wherever it is; Ctrl-C stays Python's.

    Training has handlers of its own, which save first.
    """
    owner = os.getpid()

    def end(number: int, frame: Any) -> None:
        if os.getpid() != owner:  # a worker process that was forked from this one
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise Interrupted(signal.Signals(number).name)

    before = on_signals(end, ("SIGTERM", "SIGHUP", "SIGUSR1"))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def held_back(told: bool = True) -> Iterator[list[int]]:
    """Signals and Ctrl-C wait for the end of the block; or are for another process to obey, if this one is not ``told``.

    Yields those that have come.

    An exception in the middle of an import leaves half a module behind, or is swallowed there: torch does so with numpy.
    """
    owner, waiting = os.getpid(), list[int]()

    def wait(number: int, frame: Any) -> None:
        if os.getpid() != owner:  # a worker process that was forked from this one
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        waiting.append(number)

    before = on_signals(wait, tuple(EXIT_CODES))
    try:
        yield waiting
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if waiting and told:
        signal.raise_signal(waiting[0])


@contextmanager
def as_keyboard_interrupt() -> Iterator[None]:
    """Lightning turns Ctrl-C into a bare exit with code 1; here it is a KeyboardInterrupt again."""
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
