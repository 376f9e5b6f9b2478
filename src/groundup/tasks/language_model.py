"""What causal and masked language modelling share: a head over the vocabulary, cross-entropy, perplexity."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.data.collate import IGNORE
from groundup.data.facts import Facts
from groundup.data.packing import PackedText
from groundup.metrics.estimate import Estimate, Metric
from groundup.metrics.language import LANGUAGE, language_metrics
from groundup.models.backbone import Backbone
from groundup.models.heads import LanguageModelHead
from groundup.tasks.base import Loss, Optimize, Task
from groundup.tasks.evaluation import Split
from groundup.text.tokenizer import Tokenizer


class LanguageModel(Task):
    """Base of tasks that predict tokens; which ones, their collators decide."""

    examples = PackedText
    transform: ClassVar[bool] = False  # of hidden vectors before the output matrix, see ``LanguageModelHead``
    reports: ClassVar[tuple[Metric, ...]] = LANGUAGE

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        tied: bool = True,
        optimize: Optimize | None = None,
    ) -> None:
        super().__init__(model, facts, tokenizer, optimize)
        self.head = LanguageModelHead(model, tied=tied, transform=self.transform)

    def scored(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, V) and targets (N,) of the N scored tokens, and which they are (B, T).

        Logits are computed at scored positions only: under masking that is a sixth of the largest product of the model.
        """
        hidden, labels = self.hidden_states(batch), batch["labels"]
        chosen = labels != IGNORE
        return self.head(hidden[chosen]).float(), labels[chosen], chosen

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        logits, targets, chosen = self.scored(batch)
        return Loss(F.cross_entropy(logits, targets, reduction="sum"), chosen.sum().float())

    def evaluate_batch(self, batch: dict[str, Tensor], split: Split | None = None) -> dict[str, Tensor]:
        logits, targets, chosen = self.scored(batch)
        nll, correct = F.cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets
        row = chosen.nonzero()[:, 0]  # (N,) row of each scored token
        zeros = torch.zeros(chosen.size(0), dtype=torch.float64, device=nll.device)
        return {
            "nll": zeros.index_add(0, row, nll.double()),
            "count": chosen.sum(1),
            "correct": zeros.index_add(0, row, correct.double()),
        }

    def bytes_per_token(self, split: Split) -> float | None:
        """Of the text that is scored; None where bits per byte would mean nothing."""
        return split.examples.bytes_per_token

    def metrics(self, table: dict[str, Tensor], split: Split) -> dict[str, Estimate]:
        return language_metrics(
            table["nll"].numpy(),
            table["count"].numpy(),
            bytes_per_token=self.bytes_per_token(split),
            correct=table["correct"].numpy(),
            resamples=split.resamples,
        )
