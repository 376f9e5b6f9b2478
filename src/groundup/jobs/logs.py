"""Python logging of a job: everything to ``run.log``, what matters to the terminal."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from groundup.system.files import no_link, replacing
from groundup.system.secrets import mask_text
from groundup.system.streams import visible

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
TERMINAL_NAME = "groundup terminal"


class Masked(logging.Formatter):
    """A formatter that never writes the value of a secret, nor what a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(mask_text(super().format(record)))


class RunLog(logging.FileHandler):
    """Appends to ``run.log``; a link that stands in its place is not followed (OSError).

    A file with a second name elsewhere, as ``cp -l`` makes it, is left as it is: the run goes on with a copy.
    """

    incomplete = False  # a line could not be written

    def _open(self):
        file = Path(self.baseFilename)
        if file.is_file() and not file.is_symlink() and file.stat().st_nlink > 1:
            with replacing(file) as copy:
                shutil.copyfile(file, copy)
        return open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=no_link)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A log that cannot be written, as on a full disk, ends nothing; the terminal is told once."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.incomplete:
            self.incomplete = True
            print(f"{self.baseFilename} lacks lines: {error.strerror}", file=sys.stderr)

    def close(self) -> None:
        with suppress(OSError):
            super().close()


class Terminal(logging.StreamHandler):
    """Short lines on today's ``sys.stderr``, so that a live progress bar that has taken it over stays whole.

    Of other packages only warnings are shown; Python's own warnings stand in the log alone.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.name = TERMINAL_NAME
        self.setFormatter(Masked("%(message)s"))

    @property
    def stream(self):
        return sys.stderr

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name == "py.warnings" or getattr(record, "log_only", False):
            return False
        ours = record.name.split(".")[0] == "groundup"
        return record.levelno >= (logging.INFO if ours else logging.WARNING)


@contextmanager
def log_to_run(file: Path | None, rank: int = 0) -> Iterator[None]:
    """While the block runs, the root logger writes to ``file`` (appending; None: no file) and to the terminal.

    Blocks nest: the steps of a pipeline write to their own log and to the pipeline's. Ranks above 0 write warnings only.
    """
    root = logging.getLogger()
    outer, level = root.handlers[:], root.level
    handler = logging.NullHandler() if file is None else RunLog(file, encoding="utf-8")
    handler.setFormatter(Masked(LINE if rank == 0 else f"[rank {rank}] {LINE}"))
    handler.setLevel(logging.INFO if rank == 0 else logging.WARNING)
    nested = any(isinstance(other, Terminal | RunLog) for other in outer)
    twice = file is not None and is_stderr(file)  # as of a job in a pool: it has no terminal, and its log gets the rest
    # Handlers of others (pytest's) stay; Hydra's console would print every line a second time.
    kept = [other for other in outer if nested or type(other) is not logging.StreamHandler]
    kept = [other for other in kept if not (twice and isinstance(other, Terminal))]
    terminal = [] if nested or twice or rank > 0 else [Terminal()]
    root.handlers[:] = [*kept, *terminal, handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        root.handlers[:] = outer
        root.setLevel(level)
        handler.close()
        if not nested:
            logging.captureWarnings(False)


def is_stderr(file: Path) -> bool:
    """Whether what is written to the standard error lands in ``file``."""
    try:
        return os.path.samestat(os.fstat(2), os.stat(file))
    except OSError:
        return False


def log_failure(error: BaseException) -> None:
    """The full traceback, to the log alone."""
    text = "".join(traceback.format_exception(error)).rstrip()
    logging.getLogger("groundup").error(text, extra={"log_only": True})


def take_over_consoles() -> None:
    """Lightning prints through handlers of its own, so its lines would show twice; let them pass through the root logger."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
