"""Is a killed run the same run? SIGKILL at five random steps, against a run that was never interrupted.

    python benchmarks/resume.py

For DataLoader workers 0 and 2 and gradient accumulation 1 and 4: the sha256 of the final weights and the loss of every
step must be equal, bit for bit.

    python benchmarks/resume.py --moments 30

kills one run at random moments of the clock instead: in its first seconds, in a step, while it saves. After each kill
every checkpoint must be a whole file.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import torch
from once import groundup

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from child import Child

STEPS = 60
MOMENTS = ("first seconds", "step", "save")  # when --moments kills, in turn


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


def kill_at(moment: str, command: list[str], run: Path, draw: random.Random) -> bool:
    """Starts a command and SIGKILLs it at such a moment. Returns False if it was done before.

    Raises:
        SystemExit: it ended by itself with an error, or the kill has left a checkpoint that is not whole.
    """
    before = max(losses(run)["train/loss"], default=0)
    left = set((run / "checkpoints").glob(".*.tmp"))  # by the kill before this one
    child = Child(command, run.parent / f"{run.name}.child")
    begun = time.monotonic()
    pause = draw.uniform(0, {"first seconds": 3, "step": 0.5, "save": 0.004}[moment])

    def came() -> bool:
        if moment == "save" and time.monotonic() < begun + 12:  # a save is short: it may be missed
            return bool(set((run / "checkpoints").glob(".*.tmp")) - left)
        return moment == "first seconds" or max(losses(run)["train/loss"], default=0) > before

    while child.returncode is None and not came():
        time.sleep(0.0005 if moment == "save" else 0.01)
    time.sleep(pause)
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.kill()  # it may have no group yet
    if child.wait() not in (0, -signal.SIGKILL):
        raise SystemExit(f"ended with exit code {child.returncode}: {child.errors()}")
    for file in (run / "checkpoints").glob("*.ckpt"):
        if zipfile.ZipFile(file).testzip() is not None:
            raise SystemExit(f"{file} is half-written")
    half, last = len(list((run / "checkpoints").glob(".*.tmp"))), run / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)["global_step"] if last.exists() else 0
    print(
        f"{moment}, {time.monotonic() - begun:.2f} s after the start: saved at step {saved}, {half} half-written beside it",
        file=sys.stderr,
        flush=True,
    )
    return child.returncode != 0


def at_moments(arguments: argparse.Namespace, draw: random.Random) -> bool:
    """``--moments``: prints a row of the table; whether the run that was killed ended as the other."""
    overrides = settings(0, 1, [f"budget.steps={arguments.steps}", "checkpoint_every=2", *arguments.overrides])
    whole, broken = (arguments.logs / f"moments-{kind}" for kind in ("whole", "killed"))
    for run in (whole, broken):
        shutil.rmtree(run, ignore_errors=True)
    groundup("pretrain", *overrides, f"hydra.run.dir={whole}")
    first = ["pretrain", *overrides, f"hydra.run.dir={broken}"]
    kills = anew = 0
    while kills < arguments.moments:
        if not (broken / "config.yaml").exists():  # killed before there was a run
            anew += kills > 0
            shutil.rmtree(broken, ignore_errors=True)
            command = first
        else:
            command = ["resume", f"run={broken}"]
        if not kill_at(MOMENTS[kills % len(MOMENTS)], command, broken, draw):
            raise SystemExit(f"done after {kills} kills. Try --steps {2 * arguments.steps}")
        kills += 1
    groundup("resume", f"run={broken}")
    cells, same = compare(whole, broken)
    print("| kills | begun anew | weights (sha256) | train losses | validation losses |\n|---|---|---|---|---|")
    print(f"| {kills} | {anew} | {cells} |", flush=True)
    return same


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
    parser.add_argument("--moments", type=int, default=0, help="kill at so many random moments of the clock instead")
    parser.add_argument("--steps", type=int, default=1200, help="of the run that --moments kills")
    parser.add_argument("--logs", type=Path, default=Path("logs/benchmarks/resume"))
    arguments = parser.parse_intermixed_args()
    draw, wrong = random.Random(arguments.seed), 0
    if arguments.moments:
        sys.exit(0 if at_moments(arguments, draw) else 1)

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
