"""The standard streams, treated as ``cat`` and ``git`` treat them."""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import unicodedata
from typing import Any

GONE = (errno.EPIPE, errno.EIO)  # a reader has left, as after ``| head -1``; a terminal is closed
BROKEN_PIPE = 141  # exit code of a command that writes for a reader who has left: 128 + SIGPIPE
_lost: dict[str, OSError] = {}  # stream -> why nothing that was written to it arrives any more


class Stream(io.FileIO):
    """A stream whose end does not end the work: once nothing arrives any more, what is written is lost, and nothing else."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError as error:
            _lost.setdefault("output" if self.fileno() == 1 else "error", error)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            return len(memoryview(data).cast("B"))


def prepare() -> None:
    """Opens streams that the caller has closed, so that no file takes their place, and makes writing to them safe.

    Text is UTF-8, unless PYTHONIOENCODING says otherwise; then what it lacks is written as ``\\u4f60``.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number, which is this one
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115
        stream = getattr(sys, name)
        if number == 0 or (os.name != "posix" and stream.isatty()):  # a console of Windows is no file
            continue
        stream.flush()
        encoding = stream.encoding if "PYTHONIOENCODING" in os.environ else "utf-8"
        raw = io.BufferedWriter(Stream(number, "w", closefd=False))
        lines = number == 2 or stream.isatty()
        setattr(sys, name, io.TextIOWrapper(raw, encoding, errors="backslashreplace", line_buffering=lines))


def reader_left() -> bool:
    """Whether nobody reads the standard output any more."""
    return "output" in _lost and _lost["output"].errno in GONE


def finish(code: int) -> int:
    """Writes what is left, and returns the exit code: that of the work, or 1 where the output could not be written."""
    sys.stdout.flush()
    error = _lost.get("output")
    if error is None or error.errno in GONE:
        return code
    print(f"error: standard output: {error.strerror}", file=sys.stderr)
    return code or 1


CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")


def padded(text: str, width: int) -> str:
    """``text`` with blanks behind it, up to ``width`` columns of a terminal."""
    return text + " " * (width - width_of(text))


def width_of(text: str) -> int:
    """Columns of a terminal that ``text`` takes: two for a Chinese character, none for a mark over the letter before it."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(unicodedata.category(letter) in ("Mn", "Me", "Cf") for letter in text)


def visible(text: str) -> str:
    r"""``text`` with control characters written out (``\x1b``), line breaks and tabs aside."""
    return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
