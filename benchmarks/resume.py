"""Is a killed run the same run? SIGKILL at five random steps, against a run that was never interrupted.

    python benchmarks/resume.py

For DataLoader workers 0 and 2 and gradient accumulation 1 and 4: the sha256 of the final weights and the loss of every
step must be equal, bit for bit.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from once import groundup

STEPS = 60


def settings(workers: int, accumulate: int, extra: list[str]) -> list[str]:
    """A tiny run that has all that can go wrong: dropout, validation between checkpoints, a schedule, random masks."""
    return [
        "task=masked_lm",
        "model=transformer_encoder",
        "size=nano",
        "batching.batch_size=8",
        f"budget.steps={STEPS}",
        "validate_every=25",
        "checkpoint_every=4",
        "callbacks.step_logger.every=1",
        f"num_workers={workers}",
        f"trainer.accumulate_grad_batches={accumulate}",
        "seed=7",
        *extra,
    ]


def weights(run: Path) -> str:
    """sha256 over names and bytes of the final weights."""
    state = torch.load(run / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)["state_dict"]
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def losses(run: Path) -> dict[str, dict[int, str]]:
    """Training and validation loss of each step, as the text in metrics.csv: equal text, equal number."""
    if not (run / "metrics.csv").exists():
        return {"train/loss": {}, "validation/loss": {}}
    rows = list(csv.DictReader((run / "metrics.csv").open(newline="", encoding="utf-8")))
    return {
        name: {int(row["step"]): row[name] for row in rows if row.get("step") and row.get(name)}
        for name in ("train/loss", "validation/loss")
    }


def run_and_kill(command: list[str], run: Path, step: int) -> int:
    """Starts a command and SIGKILLs it, workers too, once it has logged ``step``; the step it had reached."""
    with (run.parent / f"{run.name}.log").open("a") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        while process.poll() is None and max(losses(run)["train/loss"], default=0) < step:
            time.sleep(0.02)
        if process.poll() is not None:
            raise SystemExit(f"ended with exit code {process.returncode} before step {step}: see {log.name}")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return max(losses(run)["train/loss"])


def compare(whole: Path, broken: Path) -> tuple[str, bool]:
    """Cells of the table, and whether everything is equal and there was something to compare."""
    sums, (expected, found) = (weights(whole), weights(broken)), (losses(whole), losses(broken))
    same = {"weights": sums[0] == sums[1]} | {
        name: bool(expected[name]) and expected[name] == found[name] for name in expected
    }
    counts = {"weights": sums[0][:12]} | {name: f"{len(values)} steps" for name, values in expected.items()}
    return " | ".join(f"{'same' if same[name] else 'DIFFER'}, {counts[name]}" for name in same), all(same.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="KEY=VALUE for groundup pretrain, e.g. another model")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--accumulate", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--seed", type=int, default=0, help="for the steps at which to kill")
    parser.add_argument("--logs", type=Path, default=Path("logs/benchmarks/resume"))
    arguments = parser.parse_intermixed_args()
    draw, wrong = random.Random(arguments.seed), 0

    print(
        "| workers | accumulate | killed at steps | weights (sha256) | train losses | validation losses |\n|---|---|---|---|---|---|"
    )
    for workers in arguments.workers:
        for accumulate in arguments.accumulate:
            overrides = settings(workers, accumulate, arguments.overrides)
            whole, broken = (
                arguments.logs / f"workers{workers}-accumulate{accumulate}-{kind}" for kind in ("whole", "killed")
            )
            for run in (whole, broken):
                shutil.rmtree(run, ignore_errors=True)
            groundup("pretrain", *overrides, f"hydra.run.dir={whole}")

            command, reached = ["pretrain", *overrides, f"hydra.run.dir={broken}"], []
            for step in sorted(draw.sample(range(2, STEPS - 10), arguments.kills)):
                reached.append(run_and_kill([sys.executable, "-m", "groundup", *command], broken, step))
                if (broken / "checkpoints" / "last.ckpt").exists():
                    command = ["resume", f"run={broken}"]
                else:  # killed before the first checkpoint: there is nothing to resume yet
                    shutil.rmtree(broken)
            groundup(*command)

            cells, same = compare(whole, broken)
            wrong += not same
            print(f"| {workers} | {accumulate} | {', '.join(map(str, reached))} | {cells} |", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
