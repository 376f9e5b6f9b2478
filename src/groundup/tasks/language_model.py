"""What causal and masked language modelling share: a head over the vocabulary, cross-entropy, perplexity."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from groundup.data.facts import Facts
from groundup.metrics.estimate import Estimate
from groundup.metrics.language import language_metrics
from groundup.models.heads import LanguageModelHead
from groundup.tasks.base import Loss, Task

IGNORE = -100  # label of a position that is not scored


class LanguageModel(Task):
    """Base of tasks that predict tokens. ``hidden_states`` is all that differs between them."""

    form = "packed"

    def __init__(self, model: nn.Module, facts: Facts, tied: bool = True, transform: bool = False) -> None:
        super().__init__(model, facts)
        self.head = LanguageModelHead(model, tied=tied, transform=transform)

    def hidden_states(self, batch: dict[str, Tensor]) -> Tensor:
        """Hidden states (B, T, D) of a batch."""
        raise NotImplementedError

    def scored(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Negative log-likelihood (N,) and correctness (N,) of the N scored tokens, and which they are (B, T).

        Logits are computed at scored positions only: under masking that is a sixth of the largest product of the model.
        """
        hidden, labels = self.hidden_states(batch), batch["labels"]
        chosen = labels != IGNORE
        targets = labels[chosen]
        logits = self.head(hidden[chosen])  # (N, V)
        return F.cross_entropy(logits.float(), targets, reduction="none"), logits.argmax(-1) == targets, chosen

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        hidden, labels = self.hidden_states(batch), batch["labels"]
        chosen = labels != IGNORE
        logits = self.head(hidden[chosen])
        total = F.cross_entropy(logits.float(), labels[chosen], reduction="sum")
        return Loss(total, chosen.sum().float())

    def evaluate_batch(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        nll, correct, chosen = self.scored(batch)
        row = chosen.nonzero()[:, 0]  # (N,) row of each scored token
        zeros = torch.zeros(chosen.size(0), dtype=torch.float64, device=nll.device)
        return {
            "nll": zeros.index_add(0, row, nll.double()),
            "count": chosen.sum(1),
            "correct": zeros.index_add(0, row, correct.double()),
        }

    def metrics(self, table: dict[str, Tensor], bytes_per_token: float | None) -> dict[str, Estimate]:
        return language_metrics(
            table["nll"].numpy(),
            table["count"].numpy(),
            bytes_per_token=bytes_per_token,
            correct=table["correct"].numpy(),
            resamples=self.resamples,
        )
