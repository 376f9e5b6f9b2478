"""Studies with pruning against the same trials without: how many steps it saves, and whether the best one stays the best.

python benchmarks/pruning.py SEED [SEED ...]             # both are run
python benchmarks/pruning.py --replay SEED [SEED ...]    # without pruning alone; each pruner then judges what was validated there
"""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from pathlib import Path
from statistics import fmean

import optuna

from groundup.runs.trial import Pruner, StudyFile, pruner_of

ORDERS = 60  # in which the trials of a study are replayed besides their own
DEFAULT = StudyFile.pruner
PRUNERS: tuple[Pruner, ...] = ("median", "third", "halving")
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


def validated(sweep: Path) -> list[tuple[list[tuple[int, float]], float]]:
    """Of each job: step and value of its validations, and what it reached."""
    found = []
    for number in range(len(list(sweep.glob("*/metrics.json")))):
        with open(sweep / str(number) / "metrics.csv", encoding="utf-8", newline="") as table:
            rows = [(int(row["step"]), row["validation/loss"]) for row in csv.DictReader(table)]
        final = json.loads((sweep / str(number) / "metrics.json").read_text(encoding="utf-8"))["validation/loss"][
            "value"
        ]
        found.append(([(step, float(value)) for step, value in rows if value], final))
    return found


def replay(trials: list, pruner: Pruner) -> tuple[float, float]:
    """Share of the steps that the pruner saves, and the best that is left. As in a run: trials at random depend on nothing before."""
    study = optuna.create_study(direction="minimize", pruner=pruner_of(pruner))
    used = 0
    for rows, final in trials:
        trial, last = study.ask(), rows[-1][0]
        for step, value in rows:
            trial.report(value, step)
            if trial.should_prune() and step < last:
                break
        used += step
        if step < last:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, final)
    return 1 - used / sum(rows[-1][0] for rows, _ in trials), study.best_value


def replays(seeds: list[int]) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(
        "| study | pruner | saved, as run | best lost | saved in other orders: mean, least | best lost | by at most |"
    )
    print("|---|---|---:|---|---|---:|---:|")
    for seed in seeds:
        trials = validated(study(seed, "none"))
        best = min(final for _, final in trials)
        for pruner in PRUNERS:
            saved, left = replay(trials, pruner)
            draw = random.Random(seed)
            others = [replay(draw.sample(trials, len(trials)), pruner) for _ in range(ORDERS)]
            shares, losses = [one for one, _ in others], [other - best for _, other in others]
            figures = [f"{saved:.1%}", "yes" if left > best else "no", f"{fmean(shares):.1%}, {min(shares):.1%}"]
            figures += [f"{sum(loss > 0 for loss in losses)} of {ORDERS}", f"{max(losses):.4f}"]
            print(f"| {seed} | `{pruner}` | {' | '.join(figures)} |", flush=True)


def main(seeds: list[int]) -> None:
    print("| study | steps without | steps with | saved | best without | best with |\n|---|---:|---:|---:|---:|---:|")
    for seed in seeds:
        whole, pruned = study(seed, "none"), study(seed, DEFAULT)
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
    given = [int(word) for word in sys.argv[1:] if word.isdigit()] or [1, 2, 3]
    (replays if "--replay" in sys.argv else main)(given)
