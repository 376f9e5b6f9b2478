"""What a student learns of its teacher: targets that say how likely each answer is, softened by a temperature."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

TEACHER = "teacher"  # where a batch has its lesson


@dataclass(frozen=True)
class Lesson:
    """What a teacher says of the rows of a batch, and how much it counts.

    Args:
        answers: log-probabilities (B, C).
        alpha: share of the teacher in the loss, from 0 to 1; the labels have the rest.
        temperature: what log-probabilities are divided by, the teacher's and the student's: above 1, the less likely
            answers count for more.

    Source: Hinton et al. 2015.
    """

    answers: Tensor
    alpha: float
    temperature: float

    def beside(self, losses: Tensor, logits: Tensor, counts: Tensor) -> Tensor:
        """Losses against the labels (B,), logits of the same rows (B, C), and how much each row counts (B,) -> what to
        train on (B,). At alpha 0 exactly ``losses``.
        """
        return losses if self.alpha == 0 else (1 - self.alpha) * losses + self.alone(logits) * counts

    def alone(self, logits: Tensor) -> Tensor:
        """For rows without a label: alpha T^2 KL(teacher || student) (B,), at temperature T; T^2 keeps the gradient's size."""
        teacher = (self.answers / self.temperature).log_softmax(-1)
        student = (logits / self.temperature).log_softmax(-1)
        apart = F.kl_div(student, teacher, reduction="none", log_target=True).sum(-1)
        return self.alpha * self.temperature**2 * apart
