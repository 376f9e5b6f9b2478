"""How long the command takes before it does anything: ``--help`` (bar 0.3 s) and ``--cfg job`` (bar 1 s).

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

BARS = {
    ("--help",): 0.3,
    ("pretrain", "--help"): 0.3,
    ("pretrain", "--cfg", "job"): 1.0,
    ("finetune", "--cfg", "job", "data=python_docs_topic"): 1.0,
}
REPEATS = 7


def seconds(command: list[str]) -> float:
    """Wall-clock time of one call."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    script = Path(sys.executable).with_name("groundup")
    program = [str(script)] if script.exists() else [sys.executable, "-m", "groundup"]
    late = 0
    print(f"{' '.join(program)}, median of {REPEATS} calls after one to warm up")
    print("| arguments | median s | slowest s | bar s |\n|---|---|---|---|")
    for arguments, bar in BARS.items():
        seconds([*program, *arguments])
        times = [seconds([*program, *arguments]) for _ in range(REPEATS)]
        late += statistics.median(times) > bar
        print(f"| {' '.join(arguments)} | {statistics.median(times):.2f} | {max(times):.2f} | {bar} |")
    sys.exit(1 if late else 0)


if __name__ == "__main__":
    main()
