"""Stop when the monitored metric no longer improves."""

from __future__ import annotations

import logging
import math
from typing import Annotated, Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from pydantic import Field

from groundup.errors import UserError
from groundup.metrics.estimate import Direction, direction
from groundup.ranges import Count

log = logging.getLogger(__name__)


class EarlyStopping(Callback):
    """Ends training after ``patience`` validations in a row without an improvement; exact across a resume.

    Lightning's own counts are lost for the validation at which a checkpoint is taken, and a stopped run that is
    resumed trains on; here the verdict is part of the state.

    Args:
        monitor: name of the metric, e.g. ``validation/loss``.
        mode: whether a lower (``min``) or a higher (``max``) value is better; None = as the metric says.
        patience: validations without an improvement.
        min_delta: smaller changes are not an improvement; in units of the metric.

    Raises:
        UserError: a validation did not report the metric, or its direction is not known.
    """

    def __init__(
        self,
        monitor: str = "validation/loss",
        mode: Direction | None = None,
        patience: Count = 3,
        min_delta: Annotated[float, Field(ge=0)] = 0.0,
    ):
        self.monitor, self.mode, self.patience, self.min_delta = monitor, mode, patience, min_delta
        self.best: float | None = None
        self.misses = 0  # validations since the best one
        self.stopped_at: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.mode = direction(self.monitor, self.mode, getattr(pl_module, "reports", ()))
        if self.stopped_at is not None:
            trainer.should_stop = True

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        if self.monitor not in trainer.callback_metrics:
            known = ", ".join(sorted(name for name in trainer.callback_metrics if name.startswith("validation/")))
            raise UserError(
                f"early stopping watches {self.monitor}, but validation reports {known}. "
                "Try callbacks.early_stopping.monitor=validation/loss"
            )
        score = float(trainer.callback_metrics[self.monitor])
        # The first score is the best so far; NaN is never an improvement
        best = self.best if self.best is not None else math.inf if self.mode == "min" else -math.inf
        if (best - score if self.mode == "min" else score - best) > self.min_delta:
            self.best, self.misses = score, 0
            return
        self.misses += 1
        if self.misses >= self.patience:
            self.stopped_at = trainer.global_step
            trainer.should_stop = True
            log.info(
                "early stop at step %d: %s has not improved on %s for %d validations",
                trainer.global_step,
                self.monitor,
                "nan" if self.best is None else f"{self.best:.4f}",
                self.misses,
            )

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "misses": self.misses, "stopped_at": self.stopped_at}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.misses = state_dict["best"], state_dict["misses"]
        self.stopped_at = state_dict["stopped_at"]
