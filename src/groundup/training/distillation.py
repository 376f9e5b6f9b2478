"""Distillation: adds to each training batch what a teacher predicts for it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from groundup.data.text_data import UNLABELLED
from groundup.tasks.base import Task
from groundup.tasks.distillation import TEACHER, Lesson
from groundup.training.hidden_states import HiddenStates


class Distillation(Callback):
    """Gives each training batch a ``Lesson``: the teacher's answers to its rows, which the task's loss compares with its own.

    The teacher has read every row once, before the training, as it is. So a step costs what it costs without one, and
    nothing of a teacher is in the optimizer or in a checkpoint.

    Args:
        answers: of all rows of a split, by its name: log-probabilities (N, C), or numbers (N,).
        alpha, temperature: as in ``Lesson``.
    """

    def __init__(self, answers: dict[str, Tensor], alpha: float, temperature: float) -> None:
        self.answers, self.alpha, self.temperature = answers, alpha, temperature

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        for split, rows in (("train", batch), (UNLABELLED, batch.get(UNLABELLED))):
            if rows is not None and split in self.answers:
                answers = self.answers[split][rows["index"].cpu()].to(pl_module.device, torch.float32)
                rows[TEACHER] = Lesson(answers, self.alpha, self.temperature)


class LiveTeacher(Distillation):
    """A teacher that reads each batch just before the student does: for what is too much to be written down.

    It is a finished network of the student's task with the student's tokenizer, frozen and in evaluation mode, and no part of the
    student: no checkpoint and no optimizer holds anything of it.

    Args:
        teacher: the network; of it the ``answers`` to each batch are taken, unless those to the rows are known already.
        classes: where it has each of the student's classes; None: where the student has it.
        answers, alpha, temperature: as in ``Distillation``.
        hidden: strength of the distance between hidden states, see ``HiddenStates``; 0: they are not compared.
    """

    def __init__(
        self,
        teacher: Task,
        classes: list[int] | None,
        answers: dict[str, Tensor],
        alpha: float,
        temperature: float,
        hidden: float,
    ) -> None:
        super().__init__(answers, alpha, temperature)
        self.teacher, self.classes, self.hidden = teacher.requires_grad_(False).eval(), classes, hidden
        self.states: HiddenStates | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.teacher.to(trainer.strategy.root_device)
        if self.hidden and stage == "fit":
            # A module of the student, so that its optimizer trains the maps; it keeps itself out of its weights.
            self.states = pl_module.hidden_states_of_teacher = HiddenStates(pl_module.model, self.teacher.model)  # type: ignore[arg-type]

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if self.states is not None:
            self.states.watch(pl_module.model, self.teacher.model)  # type: ignore[arg-type]
        with torch.no_grad():
            logits = self.teacher.loss({k: v for k, v in batch.items() if k not in (TEACHER, UNLABELLED)}).logits
        lesson = batch.get(TEACHER)
        if lesson is None:
            assert logits is not None
            logits = logits if self.classes is None else logits[:, self.classes]
            lesson = Lesson(logits.log_softmax(-1), self.alpha, self.temperature)
        apart = None if self.states is None else partial(self.states.distance, batch.get("attention_mask"), self.hidden)
        batch[TEACHER] = replace(lesson, apart=apart)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        if self.states is not None:
            self.states.leave()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.states is None else {k: v.detach() for k, v in self.states.named_parameters()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert self.states is not None
        with torch.no_grad():
            for name, parameter in self.states.named_parameters():
                parameter.copy_(state_dict[name])
