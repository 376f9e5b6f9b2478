"""What a job of a sweep costs beside its training, one after another and by a pool of two processes.

python benchmarks/sweeps.py [JOBS]
"""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

JOBS = int(sys.argv[1]) if len(sys.argv) > 1 else 20
FOLDER = Path("logs/benchmarks/sweeps")
COMMAND = [
    sys.executable, "-m", "groundup", "finetune", "-m", f"seed=range(1,{JOBS + 1})", "data=python_docs_topic",
    "model=bilstm_encoder", "size=nano", "budget.steps=20", "validate_every=20", "threads=1", "logger=none",
]  # fmt: skip


def measure(name: str, *words: str) -> None:
    """One sweep: its time, and that of the training alone as its logs tell it."""
    shutil.rmtree(FOLDER / name, ignore_errors=True)
    begun, processor = time.perf_counter(), processor_seconds()
    subprocess.run([*COMMAND, f"hydra.sweep.dir={FOLDER / name}", *words], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    logs = [file.read_text(encoding="utf-8") for file in FOLDER.glob(f"{name}/*/run.log")]
    training = sum(float(text) for log in logs for text in re.findall(r"trained to step \d+ in ([\d.]+) s", log))
    processor = processor_seconds() - processor
    beside = f"{(seconds - training) / JOBS:.2f}" if name == "serial" else ""
    print(
        f"| {name} | {seconds:.1f} | {training / JOBS:.2f} | {beside} | {processor / JOBS:.2f} | {JOBS / seconds:.3f} |",
        flush=True,
    )


def processor_seconds() -> float:
    """Of all processes that have ended so far; less sensitive to other work on the machine than the clock."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    head = ["launcher", "seconds", "training, s a job", "beside it, s a job", "processor time, s a job", "jobs/s"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    measure("serial")
    measure("pool", "launcher=pool", "launcher.jobs=2")


if __name__ == "__main__":
    main()
