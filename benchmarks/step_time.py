"""What Lightning and our callbacks cost: our training step against a bare PyTorch loop (bar 1.10x).

    python benchmarks/step_time.py                         # groundup pretrain as it comes
    python benchmarks/step_time.py model=lstm_decoder      # any override

Both train the same model with the same batches, optimizer, schedule and clipping, in turns of a few steps, in one process.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # what the command sets
os.environ.setdefault("WANDB_MODE", "offline")

import torch
from built import Built, Enough, build
from torch import Tensor, nn

from groundup.tasks.base import Task


def bare_loop(built: Built, task: Task) -> Iterator[None]:
    """A plain training loop; each ``next`` is one optimizer step."""
    task.train()
    chosen = task.configure_optimizers()
    optimizer, scheduler = chosen["optimizer"], chosen["lr_scheduler"]["scheduler"]
    clip, batches = built.cfg.trainer.gradient_clip_val, built.cfg.trainer.accumulate_grad_batches
    loader = iter(built.data.train_loader(built.task.collator(), built.steps * batches))
    while True:
        count = torch.zeros(())
        for _ in range(batches):
            loss = task.loss(next(loader))
            loss.total.backward()
            count = count + loss.count.detach()
        for parameter in task.parameters():
            if parameter.grad is not None:
                parameter.grad /= count
        if clip:
            nn.utils.clip_grad_norm_(task.parameters(), clip)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
        yield


class Turns:
    """Stands as a hook in our run: after ``length`` of its micro-batches, as many steps of the bare loop, and so on."""

    def __init__(self, bare: Iterator[None], length: int, rounds: int, batches_per_step: int) -> None:
        self.bare, self.length, self.rounds, self.batches_per_step = bare, length, rounds, batches_per_step
        self.ours: list[float] = []  # seconds a step, one figure a turn
        self.theirs: list[float] = []
        self.batches = 0
        self.started = 0.0

    def __call__(self, outputs: object, batch: dict[str, Tensor], batch_index: int) -> None:
        self.batches += 1
        if self.batches % (self.length * self.batches_per_step):
            return
        self.ours.append((time.perf_counter() - self.started) / self.length)
        begun = time.perf_counter()
        for _ in range(self.length):
            next(self.bare)
        self.theirs.append((time.perf_counter() - begun) / self.length)
        if len(self.theirs) > self.rounds:
            raise Enough
        self.started = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--stage", choices=["pretrain", "finetune"], default="pretrain")
    parser.add_argument("--steps", type=int, default=20, help="in a turn")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each side, after one to warm up")
    arguments = parser.parse_intermixed_args()

    with tempfile.TemporaryDirectory() as folder:
        steps = arguments.steps * (arguments.rounds + 2)
        built = build(arguments.stage, arguments.overrides, Path(folder) / "run", steps)
        turns = Turns(
            bare_loop(built, copy.deepcopy(built.task)),
            arguments.steps,
            arguments.rounds,
            built.cfg.trainer.accumulate_grad_batches,
        )
        built.task.on_train_batch_end = turns
        built.fit()
    ours, theirs = turns.ours[1:], turns.theirs[1:]  # the first turn warms up
    ratio = statistics.median(o / t for o, t in zip(ours, theirs, strict=True))
    print(f"{arguments.rounds} turns of {arguments.steps} steps each, {torch.get_num_threads()} threads, medians")
    print("| loop | ms a step | fastest turn | slowest turn |\n|---|---|---|---|")
    for name, times in (("groundup", ours), ("bare PyTorch", theirs)):
        print(f"| {name} | {1e3 * statistics.median(times):.1f} | {1e3 * min(times):.1f} | {1e3 * max(times):.1f} |")
    print(f"ratio, median over pairs of turns: {ratio:.3f} (bar 1.10)")
    raise SystemExit(0 if ratio <= 1.10 else 1)


if __name__ == "__main__":
    main()
