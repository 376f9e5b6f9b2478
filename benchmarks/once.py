"""One ``groundup`` command in a folder of its own: run once, resumed if it was interrupted, never run twice.

A benchmark of twenty runs can so be stopped and started again. The folder's name ends in a hash of the overrides:
other settings are another run.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


def groundup(verb: str, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Runs one command with this interpreter and shows its last lines if it fails.

    Raises:
        SystemExit: the command failed.
    """
    command = [sys.executable, "-m", "groundup", verb, *overrides]
    environment = {"WANDB_MODE": "offline", **os.environ}
    done = subprocess.run(command, text=True, capture_output=True, stdin=subprocess.DEVNULL, env=environment)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-25:])
        raise SystemExit(f"{tail}\nexit {done.returncode}: groundup {verb} {' '.join(overrides)}")
    return done


def run_once(folder: Path, verb: str, overrides: Sequence[str]) -> Path:
    """The folder of the finished run ``groundup VERB OVERRIDES``, below ``folder``; runs it if it is not there yet."""
    key = hashlib.sha256("\0".join([verb, *overrides]).encode()).hexdigest()[:8]
    run = folder.with_name(f"{folder.name}-{key}")
    if state(run) == "done":
        return run
    started = time.perf_counter()
    if (run / "checkpoints" / "last.ckpt").exists():
        groundup("resume", f"run={run}")
    else:
        shutil.rmtree(run, ignore_errors=True)
        groundup(verb, *overrides, f"hydra.run.dir={run}")
    print(f"{run.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return run


def state(run: Path) -> str | None:
    """The state in ``status.json``, None where there is no run."""
    status = run / "status.json"
    return json.loads(status.read_text(encoding="utf-8"))["state"] if status.is_file() else None


def metric(run: Path, name: str, file: str = "metrics.json") -> float:
    """One value of a finished run's ``metrics.json``."""
    return json.loads((run / file).read_text(encoding="utf-8"))[name]["value"]


def mean_and_range(values: Sequence[float], digits: int = 4) -> str:
    """``mean (lowest to highest)``: with three seeds the range says more than a standard deviation."""
    return f"{statistics.mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"
