"""What logging costs: a training that logs everything against the same training that logs nothing (bar 3 % of step time).

    python benchmarks/logging_cost.py                     # size=tiny, 10 steps between records
    python benchmarks/logging_cost.py model=lstm_decoder

One training in one process; turns of some steps with the step logger (loss, learning rates, norm of the gradient, update ratios, speed,
FLOP/s, padding, memory; to metrics.csv and to W&B, offline) and turns in which its hooks return at once.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # what the command sets
os.environ.setdefault("WANDB_MODE", "offline")

import torch
from built import Enough, build
from lightning.pytorch import LightningModule, Trainer

from groundup.training.step_logger import StepLogger

BAR = 1.03


class Switched(StepLogger):
    """The step logger, on in every other turn."""

    on = True

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        if self.on:
            super().on_before_optimizer_step(trainer, pl_module, optimizer)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        if self.on:
            super().on_train_batch_end(trainer, pl_module, *rest)


class Turns:
    """Stands as a hook of the task, after all callbacks: ``length`` micro-batches with the logger, as many without, and so on."""

    def __init__(self, length: int, rounds: int) -> None:
        self.length, self.rounds, self.batches = length, rounds, 0
        self.seconds: dict[bool, list[float]] = {True: [], False: []}  # a step, one figure a turn
        self.started = 0.0

    def __call__(self, outputs: object, batch: object, batch_index: int) -> None:
        self.batches += 1
        if self.batches % self.length:
            return
        self.seconds[Switched.on].append((time.perf_counter() - self.started) / self.length)
        if len(self.seconds[False]) > self.rounds:
            raise Enough
        Switched.on = not Switched.on
        self.started = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--stage", choices=["pretrain", "finetune"], default="pretrain")
    parser.add_argument("--steps", type=int, default=20, help="in a turn; a multiple of the 10 between two records")
    parser.add_argument("--rounds", type=int, default=30, help="turns of each side, after one to warm up")
    arguments = parser.parse_intermixed_args()

    with tempfile.TemporaryDirectory() as folder:
        steps = 2 * arguments.steps * (arguments.rounds + 2)
        words = ["size=tiny", *arguments.overrides]
        built = build(arguments.stage, words, Path(folder) / "run", steps)
        StepLogger.__new__ = lambda cls, *_, **__: object.__new__(Switched)  # whatever makes one
        turns = Turns(arguments.steps * built.cfg.trainer.accumulate_grad_batches, arguments.rounds)
        built.task.on_train_batch_end = turns
        built.fit()
    on, off = turns.seconds[True][1:], turns.seconds[False][1:]  # the first turn warms up
    ratios = sorted(a / b for a, b in zip(on, off, strict=True))
    low, ratio, high = ratios[len(ratios) // 4], statistics.median(ratios), ratios[-1 - len(ratios) // 4]
    print(f"{len(ratios)} pairs of turns of {arguments.steps} steps, {torch.get_num_threads()} threads, medians")
    print("| training | ms a step | fastest turn | slowest turn |\n|---|---|---|---|")
    for name, times in (("logs everything", on), ("logs nothing", off)):
        print(f"| {name} | {1e3 * statistics.median(times):.2f} | {1e3 * min(times):.2f} | {1e3 * max(times):.2f} |")
    print(f"ratio, median over pairs (quartiles): {ratio:.3f} ({low:.3f} to {high:.3f}); bar {BAR}")
    raise SystemExit(0 if ratio <= BAR else 1)


if __name__ == "__main__":
    main()
