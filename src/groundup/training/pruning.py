"""Ends a trial of a study that does worse than the others did."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

log = logging.getLogger(__name__)


class Pruning(Callback):
    """After each validation asks whether to go on; rank 0 asks for all.

    Args:
        monitor: the metric that is told.
        hopeless: of an optimizer step and its value: whether the training may end.
    """

    def __init__(self, monitor: str, hopeless: Callable[[int, float], bool]) -> None:
        self.monitor, self.hopeless = monitor, hopeless
        self.ended_at: int | None = None  # optimizer step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or value is None:
            return
        last = trainer.global_step >= trainer.max_steps
        ends = trainer.is_global_zero and math.isfinite(value) and self.hopeless(trainer.global_step, float(value))
        if trainer.strategy.broadcast(ends) and not last:
            self.ended_at, trainer.should_stop = trainer.global_step, True
            log.info("pruned at step %d: %s is %.4g", trainer.global_step, self.monitor, float(value))
