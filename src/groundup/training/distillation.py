"""Distillation: a batch comes with what a teacher says of its rows."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from groundup.data.text_data import UNLABELLED
from groundup.tasks.distillation import TEACHER, Lesson


class Distillation(Callback):
    """Gives each training batch a ``Lesson``: the teacher's answers to its rows, which the task's loss compares with its own.

    The teacher has read every row once, before the training, as it is. So a step costs what it costs without one, and
    nothing of a teacher is in the optimizer or in a checkpoint.

    Args:
        answers: log-probabilities (N, C) of all rows of a split, by its name.
        alpha, temperature: as in ``Lesson``.
    """

    def __init__(self, answers: dict[str, Tensor], alpha: float, temperature: float) -> None:
        self.answers, self.alpha, self.temperature = answers, alpha, temperature

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        for split, rows in (("train", batch), (UNLABELLED, batch.get(UNLABELLED))):
            if rows is not None:
                answers = self.answers[split][rows["index"].cpu()].to(pl_module.device, torch.float32)
                rows[TEACHER] = Lesson(answers, self.alpha, self.temperature)
