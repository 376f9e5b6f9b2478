"""Training of a pruned model, in which pruned weights stay zero."""

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

    Which they are is saved: those that the training itself has set to zero may move on after a resume.
    """

    def __init__(self) -> None:
        self._zeros: list[tuple[Tensor, Tensor]] = []
        self._loaded: list[Tensor] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Task)
        matrices = list(matrices_of(pl_module.model))
        saved = self._loaded or [matrix == 0 for matrix in matrices]
        self._zeros = [(matrix, zeros.to(matrix.device)) for matrix, zeros in zip(matrices, saved, strict=True)]

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        for matrix, zeros in self._zeros:
            matrix.masked_fill_(zeros, 0.0)

    def state_dict(self) -> dict[str, Any]:
        return {"zeros": [zeros for _, zeros in self._zeros]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._loaded = state_dict["zeros"]
