"""Which checkpoints a run keeps, and when they are taken."""

from __future__ import annotations

import logging
import math
import signal
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.trainer.states import TrainerFn

from groundup.errors import UserError
from groundup.metrics.estimate import Direction, direction
from groundup.ranges import Count
from groundup.runs.checkpoints import BEST, LAST
from groundup.system.signals import EXIT_CODES, Interrupted, on_signals
from groundup.training.averaging import WeightAverage

log = logging.getLogger(__name__)


class Checkpoints(Checkpoint):
    """``last.ckpt`` (the whole state, to resume), ``previous.ckpt`` (the one before), ``best.ckpt`` (weights, to use).

    Everything is saved at optimizer-step boundaries only, and after a validation that is due at that step, so that a
    resumed run neither repeats nor skips one. SIGTERM, SIGHUP, SIGUSR1 and Ctrl-C save at the next boundary and raise
    ``Interrupted`` (exit code 75, or 130 for Ctrl-C); a second Ctrl-C stops at once.

    Part of every training, not one of its callbacks to choose from: without checkpoints a run has no result.

    Args:
        folder: where the files go: <run>/checkpoints.
        monitor: metric that decides which weights are the best; None = the last ones.
        mode: whether a lower (``min``) or a higher (``max``) value is better; None = as the metric says.
        every: optimizer steps between two saves of ``last.ckpt``.

    Raises:
        UserError: a validation did not report the metric, or its direction is not known.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str | None = "validation/loss",
        mode: Direction | None = None,
        every: Count = 200,
    ):
        self.folder, self.monitor, self.mode, self.every = folder, monitor, mode, every
        self.best_score: float | None = None
        self.best_step: int | None = None
        self._saved_step = -1
        self._signal: str | None = None
        self._stopping = False

    # What is saved

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.best_step = state_dict["best_score"], state_dict["best_step"]

    def _save_last(self, trainer: Trainer) -> None:
        if trainer.global_step != self._saved_step:
            for logger in trainer.loggers:
                logger.save()  # a run resumed from here does not log the rows before it again
            trainer.save_checkpoint(self.folder / LAST, weights_only=False)
            self._saved_step = trainer.global_step
        if self._stopping:
            raise Interrupted(self._signal or "SIGTERM", trainer.global_step)

    def _save_best(self, trainer: Trainer, pl_module: LightningModule) -> None:
        with WeightAverage.weights_for_use(trainer, pl_module):
            trainer.save_checkpoint(self.folder / BEST, weights_only=True)
        self.best_step = trainer.global_step

    # When

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor is not None:
            self.mode = direction(self.monitor, self.mode, getattr(pl_module, "reports", ()))
        self._saved_step = trainer.global_step
        self._signal, self._stopping = None, False
        if trainer.is_global_zero:
            for leftover in self.folder.glob(".*.tmp"):  # of a process killed while it was saving
                leftover.unlink()
        # after Lightning has set its own handlers, so that ours win; it puts the user's back when fit ends
        on_signals(self._on_signal, tuple(EXIT_CODES))

    def _on_signal(self, number: int, frame: Any) -> None:
        name = signal.Signals(number).name
        if name == "SIGINT" and self._signal == "SIGINT":
            raise KeyboardInterrupt
        if name == "SIGINT":
            log.warning("Ctrl-C: saving after this step; press it again to stop at once")
        self._signal = name

    def raise_if_signalled(self, step: int) -> None:
        """Raises Interrupted for a signal that came after the last save, too late for a hook."""
        if self._signal is not None:
            raise Interrupted(self._signal, step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loop = trainer.fit_loop.epoch_loop
        if loop._should_accumulate() or not self._due(trainer):
            return
        if loop._num_ready_batches_reached() or loop._should_check_val_fx(trainer.fit_loop._data_fetcher):  # type: ignore[arg-type]
            return  # a validation or the end of training is due first; the hooks below save after it
        self._save_last(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loop = trainer.fit_loop.epoch_loop
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or loop._should_accumulate():
            return
        self._judge(trainer, pl_module)
        if not loop._num_ready_batches_reached() and self._due(trainer):
            self._save_last(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The end of training: the stream is one Lightning epoch."""
        if self.best_step is None or self.monitor is None:
            if self.monitor is not None:
                log.warning("%s was never measured: best.ckpt holds the last weights", self.monitor)
            self._save_best(trainer, pl_module)
        self._due(trainer)
        self._save_last(trainer)

    def _due(self, trainer: Trainer) -> bool:
        # one answer for all ranks: a signal may reach only one of them
        self._stopping = trainer.strategy.reduce_boolean_decision(self._signal is not None, all=False)
        return self._stopping or trainer.global_step % self.every == 0

    def _judge(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor is None:
            return
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(name for name in trainer.callback_metrics if name.startswith("validation/")))
            raise UserError(
                f"monitor={self.monitor} picks the best checkpoint, but validation reports {known}. Try monitor=validation/loss"
            )
        score = float(trainer.callback_metrics[self.monitor])
        if math.isnan(score):
            return
        best = self.best_score
        if best is None or (score < best if self.mode == "min" else score > best):
            self.best_score = score
            self._save_best(trainer, pl_module)
