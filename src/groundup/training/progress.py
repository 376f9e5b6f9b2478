"""How far training is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from pydantic import Field
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar

from groundup.training.checkpoints import Checkpoints
from groundup.training.step_logger import StepLogger


class Progress(Callback):
    """Steps, training loss, monitored metric, tokens a second and time left; figures are those of ``StepLogger``.

    Args:
        seconds: between two lines where the output is no terminal; never more than a hundred lines in all.
    """

    def __init__(self, seconds: Annotated[float, Field(gt=0)] = 10.0):
        self.seconds = seconds
        self.clock = time.monotonic
        self._bar: Bar | None = None
        self._task: Any = None
        self._begun = (0, 0.0)  # step and time
        self._shown = (0, 0.0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun = self._shown = (trainer.global_step, self.clock())
        if trainer.is_global_zero and sys.stdout.isatty():
            self._bar = Bar(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(bar_width=10),  # what is left of 80 columns is for figures
                TextColumn("{task.description}"),
                refresh_per_second=4,
            )
            self._task = self._bar.add_task("", total=trainer.max_steps, completed=trainer.global_step)
            self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, now = trainer.global_step, self.clock()
        if not trainer.is_global_zero or step == self._shown[0]:
            return
        if self._bar is not None:
            if now - self._shown[1] >= 0.2 or step >= trainer.max_steps:
                space = self._bar.console.width - len(f"step {trainer.max_steps}/{trainer.max_steps} ") - 12
                self._bar.update(self._task, completed=step, description=fitting(self._figures(trainer, now), space))
                self._shown = (step, now)
            return
        waited = now - self._shown[1] >= self.seconds and (step - self._shown[0]) * 100 >= trainer.max_steps
        if waited or step >= trainer.max_steps:
            logging.getLogger(__name__).info(
                "step %d/%d  %s", step, trainer.max_steps, "  ".join(self._figures(trainer, now))
            )
            self._shown = (step, now)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _figures(self, trainer: Trainer, now: float) -> list[str]:
        """The most important first."""
        losses: list[str] = []
        watched: list[str] = []
        speed: list[str] = []
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, StepLogger) and callback.latest:
                losses.append(f"loss {callback.latest['train/loss']:.4f}")
                speed.append(f"{callback.latest['train/tokens_per_second']:,.0f} tokens/s")
            if isinstance(callback, Checkpoints) and callback.monitor in trainer.callback_metrics:
                watched.append(f"{callback.monitor} {float(trainer.callback_metrics[callback.monitor]):.4f}")
        done = trainer.global_step - self._begun[0]
        left = (trainer.max_steps - trainer.global_step) * (now - self._begun[1]) / max(done, 1)
        return [*losses, f"{timedelta(seconds=round(left))} left", *watched, *speed]


def fitting(figures: Sequence[str], width: int) -> str:
    """The first of the figures, as many as fit beside each other; none is cut."""
    line = ""
    for figure in figures:
        longer = f"{line}  {figure}" if line else figure
        if len(longer) > width:
            break
        line = longer
    return line
