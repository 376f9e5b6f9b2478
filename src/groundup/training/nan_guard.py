"""Stop at the first loss that is not a number, before it reaches a checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from groundup.errors import UserError
from groundup.ranges import Count

LOWEST_SCALE = 1e-4  # of 16-mixed; it begins at 65,536, and thirty halvings mean more than a gradient that is too large


class NanGuard(Callback):
    """Looks at loss and gradient norm every n steps, and before each checkpoint, so that the last one kept is sound.

    Not at every step: reading a number makes a GPU wait. Weights that are not finite stay so, and the loss with them.
    Under ``precision=16-mixed`` a gradient that overflows is no failure: its step is skipped and the scale of the loss
    halved, until that has happened too often.

    Args:
        every: optimizer steps between two looks.

    Raises:
        UserError: the loss or the gradient is NaN or infinite.
    """

    def __init__(self, every: Count = 10):
        self.every = every
        self._loss: Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if trainer.global_step % self.every == 0:
            self._look(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._look(trainer, pl_module)

    def _look(self, trainer: Trainer, pl_module: LightningModule) -> None:
        values = {"loss": self._loss}
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is None or scaler.get_scale() < LOWEST_SCALE:
            values["gradient"] = getattr(pl_module, "grad_norm", None)
        for name, value in values.items():
            if value is not None and not bool(torch.isfinite(value).all()):
                raise UserError(
                    f"the {name} is not finite at step {trainer.global_step} (looked at every {self.every} steps). Try "
                    f"a lower optimizer.lr, a longer scheduler.warmup or trainer.gradient_clip_val=0.5"
                )
