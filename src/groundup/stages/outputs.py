"""Files that ``predict`` and ``generate`` read and write, and what they tell of rows on the terminal.

Imports nothing heavy: what cannot be is refused before any work, and a file is there only when it is whole.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import shutil
import sys
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from groundup.errors import UserError
from groundup.runs.folder import finite
from groundup.system import streams
from groundup.system.files import left_beside, replacing

log = logging.getLogger(__name__)
STANDARD = Path("-")  # input or output of ``predict``: that of the shell
MEANING = {
    "truncated": "longer than the model reads, and cut",
    "empty": "nothing in them to read",
    "unfinished": "stopped at the most tokens they may have; see task.max_length_ratio and decoding.max_new_tokens",
}


def check_input(source: Path) -> None:
    """Raises UserError unless there is a file that can be read more than once."""
    if source.is_file():
        return
    if source.is_dir():
        files = sorted(entry for entry in source.iterdir() if entry.is_file())[:1]
        raise UserError(f"input={source} is a folder. Try input={(files or [source / 'texts.txt'])[0]}")
    if source.exists():
        raise UserError(
            f"input={source} is read twice, so it must be a file. For what comes through a pipe try input=-"
        )
    near = get_close_matches(source.name, [entry.name for entry in source.parent.glob("*")], n=1, cutoff=0.8)
    advice = f"Try input={source.parent / near[0]}" if near else "Write texts into a file, one a line, and name it"
    raise UserError(f"input={source}: there is no such file. {advice}")


def standard_input() -> Path:
    """What comes on the standard input, as a file: it is read twice. Rows of JSON where it begins with a brace, else a text a line.

    It is gone when the process ends. Raises UserError when the disk is full.
    """
    folder = Path(mkdtemp(prefix="groundup-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with replacing(folder / "stdin") as whole:
        with open(whole, "wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        with open(whole, "rb") as file:
            begin = file.read(1 << 16).removeprefix(BOM_UTF8).lstrip()
    return (folder / "stdin").rename(folder / ("stdin.jsonl" if begin[:1] == b"{" else "stdin.txt"))


def check_output(output: Path, suffixes: Collection[str], source: Path | None = None) -> None:
    """Raises UserError for a file of another kind, for what is no file, and for the ``source`` itself."""
    suffix = next(iter(suffixes))
    fitting = output.with_name(f"{output.name.split('.')[0].strip('-') or 'out'}{suffix}")
    if output.is_dir():
        raise UserError(f"output={output} is a folder. Try output={output / f'out{suffix}'}")
    if output.suffix not in suffixes:
        raise UserError(f"output={output}: write a {' or a '.join(suffixes)}. Try output={fitting}")
    if not output.exists():
        above = next(folder for folder in output.absolute().parents if folder.exists())
        if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
            what = "may not be written in" if above.is_dir() else "is a file"
            raise UserError(f"output={output} cannot be: {above} {what}. Try output={fitting.name}")
        return
    if source is not None and source.exists() and output.samefile(source):
        other = output.with_name(f"{output.stem}.out{output.suffix}")
        raise UserError(f"output={output} is the input, which would be lost. Try output={other}")
    if not output.is_file():
        raise UserError(f"output={output} is there and is no file. Try another name")
    if not os.access(output, os.W_OK):
        raise UserError(f"output={output} is there and may not be written. Try another name, or chmod u+w {output}")


@contextmanager
def lines_of(output: Path) -> Iterator[Callable[[str], None]]:
    """A function that writes a line; the file gets its name when all are written. A link stays, and leads to the file.

    What a command that was killed left behind of a file of this name is removed. ``-`` is the standard output.

    Raises UserError: at once where the file cannot be made; when the disk is full. SystemExit: nobody reads the output any more.
    """
    if output == STANDARD:
        yield _say
        return
    whole = Path(os.path.realpath(output))
    with ExitStack() as stack:
        try:
            remove_leftovers(whole)
            last = stack.enter_context(ExitStack())  # till the file has its name nobody shall take it for a leftover
            temporary = stack.enter_context(replacing(whole))
            file = stack.enter_context(open(temporary, "w", encoding="utf-8"))
            if last.enter_context(held(temporary)) is False:
                raise UserError(
                    f"output={output} is being written by another command. Wait for it, or try another name"
                )
        except OSError as error:
            raise UserError(f"output={output} cannot be written: {error.strerror}. Try another name") from error
        yield lambda line: print(line, file=file)


def _say(line: str) -> None:
    print(line, flush=True)
    if streams.reader_left():
        sys.exit(streams.BROKEN_PIPE)


def remove_leftovers(path: Path) -> None:
    """Removes what ``replacing`` left of ``path`` where its process was killed: files of our own that nobody holds."""
    for entry in left_beside(path):
        with suppress(OSError), held(entry) as ours:
            if ours and entry.stat().st_uid == os.geteuid():
                entry.unlink()


@contextmanager
def held(file: Path) -> Iterator[bool | None]:
    """Whether this process has a file for itself while the block runs; the system ends that with the process.

    False: another process has it, or has removed it. None: such is not known here. Raises OSError where there is none.
    """
    handle = os.open(file, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        yield _take(handle)
    finally:
        os.close(handle)


def _take(handle: int) -> bool | None:
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # no such locks on this system, or on this disk
        return None
    return os.fstat(handle).st_nlink > 0


def log_statuses(counts: Counter[str], rows: str) -> None:
    """A line for each status but ``ok``; ``rows``: what is counted."""
    for status, count in counts.items():
        if status != "ok":
            log.warning("%d of %d %s: %s (%s)", count, counts.total(), rows, status, MEANING.get(status, "see status"))


def json_line(row: Mapping[str, Any]) -> str:
    """A row as JSON: NaN and infinity as null, dates and the like as text, half characters as the escapes they came in."""
    try:
        line = json.dumps(row, ensure_ascii=False, allow_nan=False, default=_as_text)
    except ValueError:
        line = json.dumps(finite(row), ensure_ascii=False, default=_as_text)
    try:
        line.encode()
    except UnicodeEncodeError:
        line = json.dumps(finite(row), default=_as_text)
    return line


def _as_text(value: Any) -> str:
    """A value that JSON does not know: bytes as UTF-8 with escapes for what is none, all else as it prints."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
