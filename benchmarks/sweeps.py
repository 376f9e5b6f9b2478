"""What a job of a sweep costs beside its training, one after another and by a pool of two processes.

python benchmarks/sweeps.py [JOBS]
"""

from __future__ import annotations

import re
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
    begun = time.perf_counter()
    subprocess.run([*COMMAND, f"hydra.sweep.dir={FOLDER / name}", *words], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begun
    logs = [file.read_text(encoding="utf-8") for file in FOLDER.glob(f"{name}/*/run.log")]
    training = sum(float(text) for log in logs for text in re.findall(r"trained to step \d+ in ([\d.]+) s", log))
    print(
        f"| {name} | {seconds:.1f} | {seconds / JOBS:.2f} | {(seconds - training) / JOBS:.2f} | {JOBS / seconds:.3f} |"
    )


def main() -> None:
    print("| launcher | seconds | a job | beside its training | jobs/s |\n|---|---|---|---|---|")
    measure("serial")
    measure("pool", "launcher=pool", "launcher.jobs=2")


if __name__ == "__main__":
    main()
