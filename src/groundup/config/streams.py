"""A terminal that goes away, or ``| head -1``, does not end a training."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class Surviving:
    """A text stream that writes to nowhere once its reader is gone."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError:  # a closed pipe, or a terminal that is no more
            discard(self.stream)
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError:
            discard(self.stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def surviving_streams() -> Iterator[None]:
    """While the block runs, what cannot be written to stdout and stderr is lost, and nothing else."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (Surviving(stream) for stream in before)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def discard(stream: TextIO) -> None:
    """From now on the stream's file is ``/dev/null``: what is still in its buffer goes there too."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
