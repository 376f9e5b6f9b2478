"""How long looking takes: the page of a sweep of 200 jobs (bar 3 s), and ``groundup runs`` over 1,000 run folders (bar 1 s).

    python benchmarks/listing.py

The sweep is a real one, of classical models; the folders are copies of a real run whose seed and figures differ.
Each command is a process of its own, start-up included; the fastest and the median of five.
"""

from __future__ import annotations

import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOBS, RUNS, TURNS = 200, 1000, 5
COMMAND = [sys.executable, "-m", "groundup"]


def groundup(*words: str) -> float:
    """Seconds of a command. Raises CalledProcessError with what it said where it fails."""
    start = time.perf_counter()
    subprocess.run([*COMMAND, *words], check=True, capture_output=True, text=True)
    return time.perf_counter() - start


def told(name: str, bar: float, *words: str) -> None:
    seconds = [groundup(*words) for _ in range(TURNS)]
    print(f"{name}: {min(seconds):.2f} s, median {statistics.median(seconds):.2f} s (bar {bar:g} s)", flush=True)


def copies(run: Path, logs: Path) -> None:
    """Copies of a run below ``logs``, each with a seed and figures of its own."""
    draw = random.Random(0)
    for number in range(RUNS):
        folder = logs / "finetune" / "copies" / f"{number:04d}"
        shutil.copytree(run, folder, ignore=shutil.ignore_patterns("checkpoints"))
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        for one in metrics.values():
            one["value"] *= draw.uniform(0.9, 1.1)
        (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
        config = (folder / "config.yaml").read_text(encoding="utf-8").replace("seed: 1\n", f"seed: {number}\n")
        (folder / "config.yaml").write_text(config, encoding="utf-8")


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        values = ",".join(f"{0.01 * 1.05**number:.5g}" for number in range(JOBS // 2))
        space = [f"baseline.C={values}", "baseline.words=1,2"]
        groundup("baseline", "-m", "data=python_docs_topic", *space, f"hydra.sweep.dir={folder / 'sweep'}")
        told(f"report of a sweep of {JOBS} jobs", 3, "report", str(folder / "sweep"))
        small = ["size=nano", "budget.steps=20", "wandb.mode=disabled", "threads=1"]
        groundup("finetune", "data=python_docs_topic", *small, f"hydra.run.dir={folder / 'run'}")
        copies(folder / "run", folder / "logs")
        told(f"runs over {RUNS:,} folders", 1, "runs", f"paths.logs={folder / 'logs'}")


if __name__ == "__main__":
    main()
