"""What a student learns of its teacher: targets that say how likely each answer is, softened by a temperature."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from groundup.tasks.trainable import Loss

TEACHER = "teacher"  # where a batch has its lesson


@dataclass(frozen=True)
class Lesson:
    """What a teacher says of what is scored in a batch, and how much it counts.

    Args:
        answers: log-probabilities (N, C) of the classes of N rows, words or tokens; or N numbers (N,). None: it is not asked.
        alpha: share of the teacher in the loss, from 0 to 1; the labels have the rest.
        temperature: what log-probabilities are divided by, the teacher's and the student's: above 1, the less likely
            answers count for more. Numbers have none.
        apart: called after the student has read the batch: how far its hidden states are from the teacher's (), which is added.

    Source: Hinton et al. 2015.
    """

    answers: Tensor | None
    alpha: float
    temperature: float
    apart: Callable[[], Tensor] | None = None

    def beside(self, loss: Loss) -> Loss:
        """A loss against the labels -> what to train on; at alpha 0, without hidden states, exactly ``loss``."""
        total = loss.total
        if self.alpha > 0:
            assert loss.logits is not None, "a task that is taught tells its logits"
            far = self.alone(loss.logits)
            total = (1 - self.alpha) * total + (far if loss.counts is None else far * loss.counts).sum()
        if self.apart is not None:
            total = total + loss.count * self.apart()
        return (
            loss if total is loss.total else Loss(total, loss.count, loss.total if loss.plain is None else loss.plain)
        )

    def alone(self, logits: Tensor) -> Tensor:
        """The loss of what has no label: alpha T^2 KL(teacher || student) (N,), at temperature T; T^2 keeps the gradient's size. Of
        numbers alpha (teacher - student)^2.
        """
        assert self.answers is not None
        if self.answers.dim() == 1:
            return self.alpha * (logits - self.answers).square()
        teacher = (self.answers / self.temperature).log_softmax(-1)
        student = (logits / self.temperature).log_softmax(-1)
        apart = F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
        return self.alpha * self.temperature**2 * apart


def taught(loss: Loss, batch: dict[str, Any]) -> Loss:
    """The loss, with what a teacher says of the batch beside it; without a teacher as it is."""
    return loss if TEACHER not in batch else batch[TEACHER].beside(loss)
