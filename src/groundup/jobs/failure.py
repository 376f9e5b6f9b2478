"""An error in one line on the terminal."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from groundup.config.mistakes import explain
from groundup.system.secrets import mask_text
from groundup.system.streams import visible


def report_failure(
    error: Exception,
    stage: str,
    log: Path | None,
    full_error: bool,
    prefix: str = "",
    overrides: list[str] | None = None,
) -> int:
    """Say on stderr what went wrong and return the exit code. The run's log holds the traceback of a failed job."""
    line = explain(error, stage, overrides or [])
    if full_error or (line is None and log is None):
        traceback.print_exception(error)
    if line is not None:
        print(visible(mask_text(f"{prefix or 'error: '}{line}")), file=sys.stderr)
        of_system = isinstance(error, OSError) and error.errno  # Hydra's missing choice is an OSError without one
        return 1 if of_system else 2
    last = traceback.format_exception_only(error)[0].strip().replace("\n", " ")
    where = f" (traceback: {os.path.relpath(log)})" if log is not None else ""
    print(visible(mask_text(f"{prefix}{last}{where}")), file=sys.stderr)
    return 1
