"""How long to train: a budget in steps, tokens, epochs or minutes becomes optimizer steps, once and visibly."""

from __future__ import annotations

import copy
import itertools
import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from groundup.config.budget import AUTO, epochs_for, one_unit
from groundup.errors import UserError
from groundup.system.signals import as_keyboard_interrupt
from groundup.training.fit import NO_FOLDER


def to_steps(
    budget: Mapping[str, Any],
    accumulate: int,
    data: Any,
    seconds_per_step: Callable[[], float],
    world: int = 1,
    minutes: float | None = None,
) -> tuple[int, str]:
    """Optimizer steps, and a line that says how they were counted.

    Args:
        budget: exactly one of ``steps``, ``tokens`` (real ones, no padding), ``epochs``, ``minutes`` is not None.
        accumulate: micro-batches an optimizer step.
        data: tells ``rows`` to learn from, ``batches_per_epoch`` (micro-batches of all ranks) and ``tokens_per_batch``.
        seconds_per_step: called for ``minutes`` only.
        world: processes.
        minutes: for no more steps than fit into so many, on one process.

    Raises:
        UserError: none or several are given, or one is not positive.
    """
    unit, amount = one_unit(budget)
    batches = accumulate * world  # micro-batches in a step
    if unit == "steps":
        steps, how = round(amount), ""
    elif unit == "epochs":
        amount = epochs_for(data.rows) if amount == AUTO else amount
        steps = round(amount * data.batches_per_epoch / batches)
        how = f"{amount:.3g} epochs x {data.batches_per_epoch:,} batches, {batches} a step"
    elif unit == "tokens":
        per_step = data.tokens_per_batch * batches
        steps = round(amount / per_step)
        how = f"{amount:,.0f} tokens, {per_step:,.0f} a step"
    else:
        if world > 1:
            raise UserError(
                "budget.minutes is measured in one process. Give budget.steps or budget.tokens with several"
            )
        seconds = seconds_per_step()
        steps = round(amount * 60 / seconds)
        how = f"{amount:g} minutes, {seconds * 1000:.1f} ms a step, validations not counted"
    if minutes and (most := round(minutes * 60 / seconds_per_step())) < steps:
        steps, how = most, f"as many as fit into {minutes:.1f} minutes, of {steps:,}"
    steps = max(steps, 1)
    passes = steps * batches / data.batches_per_epoch
    tokens = steps * batches * data.tokens_per_batch
    line = f"{steps:,} steps{f' ({how})' if how else ''}: {tokens:,.0f} tokens, {passes:.2f} epochs"
    return steps, line


class _Stopwatch(Callback):
    """Times optimizer steps, and stops after enough of them."""

    def __init__(self, skip: int, steps: int, seconds: float):
        self.skip, self.steps, self.seconds = skip, steps, seconds
        self.marks: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == len(self.marks):
            return  # inside an accumulation window
        self.marks.append(time.perf_counter())
        measured = len(self.marks) - self.skip
        if measured > self.steps and self.marks[-1] - self.marks[0] > self.seconds:
            trainer.should_stop = True

    def median(self) -> float:
        marks = self.marks[self.skip - 1 :]
        return statistics.median(later - earlier for earlier, later in itertools.pairwise(marks))


def measure_seconds_per_step(
    trial: LightningModule,
    batches: Any,
    build: Callable[..., Trainer],
    teacher: Callback | None = None,
    skip: int = 3,
    steps: int = 8,
    seconds: float = 2.0,
) -> float:
    """Median time of real optimizer steps on the first batches.

    Args:
        trial: a task with an optimizer for a long run; it is trained and thrown away.
        batches: a loader of micro-batches, more than will be needed.
        build: makes a trainer from keyword arguments.
        teacher: a callback that each step waits for.
        skip: first steps that do not count (allocation, compilation).
        steps, seconds: measures at least so many, and at least so long.

    The process's own random numbers are left as they were.
    """
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002
    watch = _Stopwatch(skip, steps, seconds)
    try:
        with torch.random.fork_rng(devices=[]):
            trainer = build(
                max_epochs=-1,
                max_steps=1_000_000,
                callbacks=[watch]
                if teacher is None
                else [copy.copy(teacher), watch],  # what it keeps goes with the trial
                logger=False,
                use_distributed_sampler=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=NO_FOLDER,
            )
            with as_keyboard_interrupt():
                trainer.fit(trial, train_dataloaders=batches)
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
    return watch.median()
