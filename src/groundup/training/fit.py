"""From callbacks and a budget to a trainer that resumes exactly."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from groundup.errors import UserError
from groundup.system.signals import as_keyboard_interrupt
from groundup.training.checkpoints import Checkpoints
from groundup.training.resume import AtomicIO, ExactResume

GRACE = 10  # seconds for the other ranks of a training to end by themselves
# Lightning's own folder. On a cluster it loads the newest hpc_ckpt_*.ckpt in it, whoever has put it there: so it is none.
NO_FOLDER = os.devnull


class ValidateAtEnd(Callback):
    """The last step is always validated, whatever the interval: the final score is never missing."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step >= trainer.max_steps:
            trainer.should_stop = True  # Lightning validates when asked to stop, then stops


@dataclass(frozen=True)
class Processes:
    """How many train together: ``here``, on this machine, and ``world``, on all of them."""

    here: int
    world: int


def count_processes(build: Callable[..., Trainer]) -> Processes:
    """Lightning's own count, which knows ``-1``, ``auto``, lists and text.

    Args:
        build: makes the trainer from keyword arguments; the one that is made here trains nothing.

    Raises:
        UserError: Lightning refuses the trainer's options.
    """
    try:
        trainer = build(logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    except (MisconfigurationException, ModuleNotFoundError, ValueError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    return Processes(trainer.num_devices, trainer.world_size)


def make_trainer(
    build: Callable[..., Trainer],
    order: str,
    checkpoints: Checkpoints,
    callbacks: Mapping[str, Callback | None],
    loggers: list[Logger],
    max_steps: int,
    validate_every: int | None,
    seed: int,
) -> Trainer:
    """A Lightning trainer on one endless stream of micro-batches, counted in optimizer steps.

    Args:
        build: makes the trainer from keyword arguments, e.g. ``partial(instantiate, cfg.trainer)``.
        order: fingerprint of the data's order; a resumed run must find the same.
        checkpoints: which to keep, and where; no run goes without.
        callbacks: by name; None entries are left out.
        max_steps: optimizer steps after which training ends.
        validate_every: optimizer steps between validations; None = only after the last step. The last step is
            always validated.
        seed: of data order and random numbers.
    """
    chosen = [callback for callback in callbacks.values() if callback is not None]
    trainer = build(
        max_epochs=-1,
        max_steps=max_steps,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the stream is split by rank already
        plugins=[AtomicIO()],
        callbacks=[ExactResume(order, seed), ValidateAtEnd(), *chosen, checkpoints],
        logger=loggers,
        enable_progress_bar=False,  # ours is a callback
        enable_model_summary=False,
        default_root_dir=NO_FOLDER,
    )
    steps = max_steps + 1 if validate_every is None else validate_every
    trainer.val_check_interval = steps * trainer.accumulate_grad_batches  # Lightning counts micro-batches
    return trainer


def fit(trainer: Trainer, task: LightningModule, batches: LightningDataModule, resume: Path | None = None) -> None:
    """Trains to the trainer's ``max_steps``; with ``resume`` it goes on from that checkpoint, exactly.

    ``batches`` begin where the checkpoint left them: ``resume.saved_batches``.

    Raises:
        Interrupted (a SystemExit): a signal or Ctrl-C stopped it, after ``last.ckpt`` was written.
        KeyboardInterrupt: a second Ctrl-C stopped it at once.
    """
    if resume and trainer.precision == "64-true":
        task.double()  # Lightning does so after it has filled the weights in, which would round them
    try:
        with as_keyboard_interrupt():
            trainer.fit(task, datamodule=batches, ckpt_path=resume and str(resume), weights_only=True)
    except BaseException as error:
        end_ranks(trainer, error)
        raise
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Checkpoints):
            callback.raise_if_signalled(trainer.global_step)


def end_ranks(trainer: Trainer, error: BaseException) -> None:
    """Ends the processes that Lightning has started for this fit, which ``error`` has ended here.

    Most end by themselves: the signal was theirs too, or the failure. One that waits for this process would do so for half
    an hour. Lightning's observer kills this process when one of its list ends badly, so what is ended here leaves the list.
    """
    started = getattr(trainer.strategy.launcher, "procs", [])
    ranks = list(started)
    if isinstance(error, KeyboardInterrupt):  # Lightning has killed them
        started.clear()
    for rank in ranks:
        try:
            rank.wait(GRACE)
        except subprocess.TimeoutExpired:
            started.clear()
            rank.kill()
            rank.wait()
