"""Classification of a text that may have several labels, or none."""

from __future__ import annotations

import logging
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from groundup.baselines.multilabel import OneAgainstRest
from groundup.data.examples import SplitToEncode
from groundup.data.facts import Facts
from groundup.data.labelled import LabelledText
from groundup.data.sources.labels import label_names, row_labels, separator_of
from groundup.data.sources.source import Source
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.metrics.estimate import Estimate
from groundup.metrics.multilabel import (
    MULTILABEL,
    best_thresholds,
    judge_labels,
    multilabel_metrics,
    multilabel_sections,
)
from groundup.metrics.sections import Section
from groundup.models.backbone import Backbone
from groundup.models.heads import PoolingKind
from groundup.ranges import Rate
from groundup.tasks.evaluation import Split
from groundup.tasks.pooled import PooledTask
from groundup.tasks.trainable import Loss, Optimize
from groundup.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)
NAMED = 100  # labels whose probabilities a prediction lists


class MultiLabelledText(LabelledText):
    """Texts as ``LabelledText`` has them, whose ``labels`` are (C,): 1 for each label of the row, else 0.

    Raises ``UserError`` for a label that training did not know.
    """

    @classmethod
    def label_names(cls, source: Source) -> tuple[tuple[str, ...], tuple[int, ...]]:
        names, counts = label_names(source, several=True)
        if mark := separator_of(names):
            said = next(name for name in names if mark in name)
            count = len(said.split(mark))
            log.warning("the label '%s' looks like %d of them. Try data.label_separator='%s'", said, count, mark)
        return names, counts

    def targets_of(self, given: SplitToEncode) -> np.ndarray:
        """(rows, C) uint8."""
        number = {name: place for place, name in enumerate(given.labels)}
        targets = np.zeros((self.encoded.rows, len(given.labels)), dtype=np.uint8)
        for place, row in enumerate(given.source.rows(given.split)):
            if "label" not in row:
                raise UserError(
                    f"the {given.split} split has no labels: name the column that holds them, data.label=COLUMN"
                )
            for name in row_labels(row):
                if name not in number:
                    raise UserError(
                        f"row {place + 1} of the {given.split} split has the label '{name}', which training does not know: "
                        "mend the label, or remove it"
                    )
                targets[place, number[name]] = 1
        return targets


class MultiLabel(PooledTask):
    """Pooled hidden states and one linear layer; each label is decided by itself, with binary cross-entropy.

    ``threshold``: the probability from which on a label is answered; ``validation``: one for each label, with the best F1
    on the validation split at each validation, saved with the weights. Metrics: micro and macro F1, the share of rows
    that are right in all labels, mean average precision, AUROC, loss a label.
    """

    examples = MultiLabelledText
    columns = ("text", "label")
    reports = MULTILABEL
    answers = ("predicted", "probabilities")
    label_tensors = frozenset({"head.linear.weight", "head.linear.bias", "thresholds"})
    judge = staticmethod(judge_labels)
    thresholds: Tensor  # (C,)

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        pooling: PoolingKind = "mean",
        dropout: Rate = 0.1,
        word_dropout: Rate = 0.0,
        threshold: Annotated[float, Field(gt=0, lt=1)] | Literal["validation"] = 0.5,
        optimize: Optimize | None = None,
    ) -> None:
        super().__init__(model, facts, tokenizer, len(facts.labels), pooling, dropout, word_dropout, optimize)
        self.chosen = threshold == "validation"
        start = torch.full((len(facts.labels),), 0.5 if isinstance(threshold, str) else threshold)
        self.register_buffer("thresholds", start, persistent=self.chosen)

    @classmethod
    def check_facts(cls, facts: Facts) -> None:
        if not facts.labels:
            raise UserError("task=multilabel needs labels, but the training split has none. Try data.label=COLUMN")

    def decision_thresholds(self) -> dict[str, float]:
        return dict(zip(self.facts.labels, self.thresholds.tolist(), strict=True))

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        logits = self.logits(self.with_words_dropped(batch))
        total = F.binary_cross_entropy_with_logits(logits, batch["labels"].float(), reduction="sum")
        return Loss(total, torch.tensor(float(logits.numel()), device=logits.device))

    def evaluate_batch(self, batch: dict[str, Tensor], split: Split) -> dict[str, Tensor]:
        """``probabilities`` and ``labels``, both (B, C)."""
        return {"probabilities": self.logits(batch).sigmoid(), "labels": batch["labels"]}

    def choose(self, table: dict[str, Tensor], split: Split) -> None:
        if self.chosen:
            self.thresholds.copy_(torch.from_numpy(best_thresholds(table["probabilities"], table["labels"])))

    def metrics(self, table: dict[str, Tensor], split: Split) -> dict[str, Estimate]:
        return multilabel_metrics(
            table["probabilities"], table["labels"], self.thresholds.cpu(), resamples=split.resamples
        )

    def describe(self, table: dict[str, Tensor], split: Split) -> list[dict[str, Any]]:
        answers = self._named(table["probabilities"])
        gold = [[self.facts.labels[place] for place in row.nonzero()[:, 0].tolist()] for row in table["labels"]]
        return [
            {"index": index, "label": labels, **row}
            for index, labels, row in zip(table["index"].tolist(), gold, answers, strict=True)
        ]

    def predict_batch(self, batch: dict[str, Tensor]) -> list[dict[str, Any]]:
        return self._named(self.logits(batch).sigmoid())

    def sections(self, rows: list[dict[str, Any]], data: TextData, split: str) -> list[Section]:
        return multilabel_sections(rows, self.facts.labels)

    def classical(self) -> OneAgainstRest:
        return OneAgainstRest()

    def _named(self, probabilities: Tensor) -> list[dict[str, Any]]:
        """The labels at or above their threshold, the likeliest first; the probabilities of all, or of the likeliest."""
        names = self.facts.labels
        ranked = probabilities.cpu().topk(len(names), dim=-1)  # one that is said may be less likely than NAMED others
        said = ranked.values >= self.thresholds.cpu()[ranked.indices]
        listed = zip(ranked.indices, ranked.values[:, :NAMED].tolist(), said, strict=True)
        return [
            {
                "predicted": [names[place] for place in places[told].tolist()],
                "probabilities": {
                    names[place]: one for place, one in zip(places[:NAMED].tolist(), values, strict=True)
                },
            }
            for places, values, told in listed
        ]
