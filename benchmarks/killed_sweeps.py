"""What sweeps survive: jobs that raise, are killed or run out of memory; and SIGKILL of the sweep itself, again and again.

    python benchmarks/killed_sweeps.py [KILLS]

First eight jobs of a pool, of which one raises, one is killed and one reaches a limit of memory at its 12th step, and what
``groundup resume`` makes of them. Then sweeps of four jobs, by either launcher, which are killed at KILLS random moments (10) and
go on each time: the table at the end must be that of a sweep which was never interrupted, byte for byte.
"""

from __future__ import annotations

import csv
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from lightning.pytorch import Callback

FOLDER = Path("logs/benchmarks/killed_sweeps").absolute()
COMMAND = [
    sys.executable, "-m", "groundup", "finetune", "-m", "data=python_docs_topic", "model=bag_of_ngrams", "model.buckets=1024",
    "size=nano", "budget.steps=40", "validate_every=20", "checkpoint_every=5", "threads=1", "logger=none",
    "+callbacks.trouble._target_=killed_sweeps.Trouble", "+callbacks.trouble.seed=${seed}",
]  # fmt: skip
POOL = ["launcher=pool", "launcher.jobs=2"]
TROUBLE = {3: "raises", 5: "killed", 7: "out of memory"}  # seeds


class Trouble(Callback):
    """Writes down each beginning of a job, and makes some fail while ``FOLDER/trouble`` is there."""

    def __init__(self, seed: int) -> None:
        self.what = TROUBLE.get(seed)
        self.seed = seed

    def on_train_start(self, trainer, pl_module) -> None:
        with open(FOLDER / "begun", "a", encoding="utf-8") as file:
            file.write(f"{self.seed} {trainer.global_step}\n")

    def on_train_batch_end(self, trainer, *arguments) -> None:
        if trainer.global_step != 12 or not (FOLDER / "trouble").exists():
            return
        if self.what == "raises":
            raise RuntimeError("made to fail")
        if self.what == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "out of memory":
            has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (has + 2**28, resource.RLIM_INFINITY))
            torch.zeros(2**28)  # 1 GiB


def run(*command: str, seconds: float | None = None) -> int:
    """The exit code; -9 where it was killed after ``seconds``."""
    allowed = {
        "GROUNDUP_ALLOW": "killed_sweeps",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    process = subprocess.Popen(
        command, env={**os.environ, **allowed}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def resume(sweep: Path, *words: str, seconds: float | None = None) -> int:
    return run(sys.executable, "-m", "groundup", "resume", f"sweep={sweep}", *words, seconds=seconds)


def rows(sweep: Path) -> list[dict[str, str]]:
    with open(sweep / "results.csv", encoding="utf-8", newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: int(row["job"]))


def begun() -> dict[int, list[int]]:
    """Seed -> the steps at which its job has begun and gone on."""
    found: dict[int, list[int]] = {}
    for line in (FOLDER / "begun").read_text(encoding="utf-8").splitlines():
        seed, step = map(int, line.split())
        found.setdefault(seed, []).append(step)
    return found


def three_of_eight() -> None:
    sweep = FOLDER / "eight"
    (FOLDER / "trouble").touch()
    code = run(*COMMAND, "seed=range(1,9)", f"hydra.sweep.dir={sweep}", *POOL)
    table, first = rows(sweep), begun()
    print(f"exit code {code}: {sum(row['status'] == 'done' for row in table)} of 8 jobs done")
    for row in table:
        if row["status"] != "done":
            print(f"  seed {row['seed']} {row['status']}: {row['why']}")
    (FOLDER / "trouble").unlink()
    code = resume(sweep)
    steps = begun()
    print(f"resumed, exit code {code}: {sum(row['status'] == 'done' for row in rows(sweep))} of 8 jobs done")
    for seed in sorted(steps):
        assert seed in TROUBLE or steps[seed] == first[seed] == [0], f"seed {seed} was run twice: {steps[seed]}"
    print("  begun at step:", ", ".join(f"seed {seed} {steps[seed]}" for seed in TROUBLE), "; the others once, at 0")


def killed(kills: int) -> None:
    whole = FOLDER / "whole"
    started = time.perf_counter()
    run(*COMMAND, "seed=range(1,5)", f"hydra.sweep.dir={whole}")
    length = time.perf_counter() - started
    chance, done, sweeps = random.Random(1), 0, 0
    while done < kills:
        sweep, launcher = FOLDER / f"killed_{sweeps}", POOL if sweeps % 2 else ["launcher=serial"]
        moments = []
        while True:
            again = (sweep / "sweep.json").exists()
            if not again:
                shutil.rmtree(sweep, ignore_errors=True)
            seconds = chance.uniform(0.2, 1) * length if done < kills else None
            new = [*COMMAND, "seed=range(1,5)", f"hydra.sweep.dir={sweep}", *launcher]
            code = resume(sweep, seconds=seconds) if again else run(*new, seconds=seconds)
            if code != -signal.SIGKILL:
                break
            done += 1
            moments.append(f"{seconds:.1f} s")
        same = (sweep / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
        print(
            f"{launcher[0]}: killed after {', '.join(moments) or 'nothing'}: {'the same table' if same else 'ANOTHER TABLE'}"
        )
        sweeps += 1


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    three_of_eight()
    killed(int(sys.argv[1]) if len(sys.argv) > 1 else 10)


if __name__ == "__main__":
    main()
