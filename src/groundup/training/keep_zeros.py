"""Training goes on with a pruned model, and what was pruned stays away."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from groundup.models.shrinking import matrices_of
from groundup.tasks.base import Task


class KeepZeros(Callback):
    """Weights of the model's matrices that are zero when training begins are zero after each step.

    A training that is resumed finds them in its weights.
    """

    def __init__(self) -> None:
        self._zeros: list[tuple[Tensor, Tensor]] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Task)
        self._zeros = [(matrix, matrix == 0) for matrix in matrices_of(pl_module.model)]

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for matrix, zeros in self._zeros:
            matrix.masked_fill_(zeros, 0.0)
