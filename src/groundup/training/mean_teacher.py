"""Mean teacher: a student also learns to answer, for rows without a label, as the average of its own weights does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, cast

import torch
from lightning.pytorch import LightningModule, Trainer
from pydantic import Field

from groundup.data.text_data import UNLABELLED
from groundup.ranges import Rate, Share
from groundup.tasks.base import Task
from groundup.training.ema import EMA


class MeanTeacher(EMA):
    """Has the teacher answer the rows without a label that come with each batch; the task's loss compares its own answers.

    The teacher is the moving average of the student's weights, see ``EMA``: it is what is validated and kept as best. It
    reads the rows as they are, without dropout. The student reads them with dropout, with words dropped, and as
    augmentations change them: only then are there two answers to compare from the beginning. The teacher draws no random
    numbers, so with a weight of 0 the student is trained as if there were no such rows, bit for bit.

    After step t of T the weight is ``weight`` x exp(-5 (1 - t / (ramp T))^2), and ``weight`` from ``ramp`` T on. It and
    the teacher follow from the checkpoint: a resume is exact.

    Args:
        weight: how much a row without a label counts beside a labelled one, when the ramp is over.
        ramp: share of the optimizer steps over which the weight rises; at first the teacher knows nothing.
        decay: share of the old teacher that is kept at each step.

    Raises:
        UserError: under ``trainer=fsdp``.

    Source: Tarvainen and Valpola 2017; there the teacher has noise, too. The ramp as in Laine and Aila 2017.
    """

    name: ClassVar[str] = "self_training=mean_teacher"
    advice: ClassVar[str] = "trainer=ddp"

    def __init__(self, weight: Annotated[float, Field(ge=0)] = 1.0, ramp: Share = 0.3, decay: Rate = 0.99):
        super().__init__(decay)
        self.weight, self.ramp = weight, ramp

    def weight_at(self, step: int, steps: int) -> float:
        """How much a row without a label counts after ``step`` of ``steps`` optimizer steps."""
        left = max(0.0, 1 - step / (self.ramp * steps)) if self.ramp else 0.0
        return self.weight * math.exp(-5 * left**2)

    @torch.no_grad()
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Gives the rows ``probabilities`` (B, C), the teacher's, and ``weights`` (B,)."""
        rows = batch[UNLABELLED]
        # Before the student's pass: its graph must not see the weights change, nor its autocast keep copies of the teacher's.
        with self._teaching(pl_module), trainer.precision_plugin.forward_context():
            rows["probabilities"] = cast(Task, pl_module).probabilities(rows)
        weight = self.weight_at(trainer.global_step, trainer.max_steps)
        rows["weights"] = rows["probabilities"].new_full((len(rows["probabilities"]),), weight)

    @contextmanager
    def _teaching(self, pl_module: LightningModule) -> Iterator[None]:
        """Inside: the module is the teacher, in evaluation mode."""
        modes = [(module, module.training) for module in pl_module.modules()]
        pl_module.eval()
        self._swap(pl_module)
        try:
            yield
        finally:
            self._swap(pl_module)
            for module, training in modes:
                module.training = training
