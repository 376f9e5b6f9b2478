"""Studies with pruning against the same trials without: how many steps it saves, and whether the best one stays the best.

python benchmarks/pruning.py [STUDIES]
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

STUDIES = int(sys.argv[1]) if len(sys.argv) > 1 else 3
FOLDER = Path("logs/benchmarks/pruning").absolute()
COMMAND = [
    sys.executable, "-m", "groundup", "finetune", "-m", "sweep=optuna", "sweep.sampler=random", "sweep.trials=12",
    "data=python_docs_topic", "model=bag_of_ngrams", "model.buckets=2048", "size=nano", "model.width=32,64",
    "optimizer.lr=tag(log,interval(3e-4,3e-2))", "model.dropout=interval(0.0,0.5)", "budget.steps=348", "validate_every=29",
    "threads=1", "logger=none",
]  # fmt: skip


def study(seed: int, pruner: str) -> Path:
    """The sweep of a study, which is never run twice. Proposals at random: they do not depend on what was pruned."""
    sweep = FOLDER / f"{pruner}_{seed}"
    new = [*COMMAND, f"seed={seed}", f"sweep.seed={seed}", f"sweep.pruner={pruner}", f"hydra.sweep.dir={sweep}"]
    again = [sys.executable, "-m", "groundup", "resume", f"sweep={sweep}"]
    subprocess.run(again if (sweep / "sweep.json").exists() else new, check=True, stdout=subprocess.DEVNULL)
    return sweep


def steps(sweep: Path) -> int:
    """Optimizer steps of all jobs: each is validated at its last one."""
    last = 0
    for file in sweep.glob("*/metrics.csv"):
        with open(file, encoding="utf-8", newline="") as table:
            last += max(int(row["step"]) for row in csv.DictReader(table) if row["validation/loss"])
    return last


def best(sweep: Path) -> float:
    files = sweep.glob("*/metrics.json")
    return min(json.loads(file.read_text(encoding="utf-8"))["validation/loss"]["value"] for file in files)


def main() -> None:
    print("| study | steps without | steps with | saved | best without | best with |\n|---|---:|---:|---:|---:|---:|")
    for seed in range(1, STUDIES + 1):
        whole, pruned = study(seed, "none"), study(seed, "median")
        saved = 1 - steps(pruned) / steps(whole)
        figures = [
            f"{steps(whole):,}",
            f"{steps(pruned):,}",
            f"{saved:.1%}",
            f"{best(whole):.4f}",
            f"{best(pruned):.4f}",
        ]
        print(f"| {seed} | {' | '.join(figures)} |", flush=True)


if __name__ == "__main__":
    main()
