"""Classification of a text, or of a pair of texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from groundup.baselines.linear import LogisticRegression
from groundup.data.facts import Facts
from groundup.data.labelled import LabelledText
from groundup.data.text_data import UNLABELLED, TextData
from groundup.errors import ArgumentError, UserError
from groundup.metrics.calibration import temperature_figures
from groundup.metrics.class_sections import classification_sections
from groundup.metrics.classes import ANSWERS, answered_rows, named_classes
from groundup.metrics.classification import (
    CLASSIFICATION,
    classification_metrics,
    judge_classes,
)
from groundup.metrics.estimate import Estimate
from groundup.metrics.sections import Section
from groundup.models.backbone import Backbone
from groundup.models.heads import PoolingKind
from groundup.ranges import Rate
from groundup.tasks.distillation import TEACHER, taught
from groundup.tasks.evaluation import Results, Split
from groundup.tasks.pooled import Pair, PooledTask
from groundup.tasks.regularization import divergence, draw_mix, squared_distance
from groundup.tasks.trainable import Loss, Optimize
from groundup.text.tokenizer import Tokenizer


class Classification(PooledTask):
    """Pooled hidden states, one linear layer, cross-entropy. ``pair``: see ``PooledTask``.

    Metrics: loss (without smoothing or class weights), accuracy, macro and micro precision, recall and F1, AUROC.
    """

    examples = LabelledText
    columns = ("text", "label")
    reports = CLASSIFICATION
    answers = ANSWERS
    taught_by = "rows"
    label_tensors = frozenset({"head.linear.weight", "head.linear.bias"})
    judge = staticmethod(judge_classes)
    class_weights: Tensor | None  # (C,)

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        pair: Pair = "apart",
        pooling: PoolingKind = "mean",
        dropout: Rate = 0.1,
        word_dropout: Rate = 0.0,
        label_smoothing: Rate = 0.0,
        class_weights: Literal["balanced"] | list[float] | None = None,
        r_drop: Annotated[float, Field(ge=0)] = 0.0,
        mixup: Annotated[float, Field(ge=0)] = 0.0,
        optimize: Optimize | None = None,
    ) -> None:
        outputs = len(facts.labels)
        super().__init__(
            model, facts, tokenizer, outputs, pooling, dropout, word_dropout, optimize, pair=pair, ordered=True
        )
        self.label_smoothing, self.r_drop, self.mixup = label_smoothing, r_drop, mixup
        if r_drop and mixup:
            raise ArgumentError("r_drop compares two readings of a row, and mixup mixes two rows", "mixup=0")
        self.register_buffer("class_weights", _class_weights(class_weights, facts), persistent=False)

    @classmethod
    def check_facts(cls, facts: Facts) -> None:
        if len(facts.labels) < 2:
            found = f"only {facts.labels[0]!r}" if facts.labels else "no label"
            raise UserError(
                f"task=classification needs at least two classes, but the training split has {found}. Try data.label=COLUMN"
            )

    def probabilities(self, batch: dict[str, Tensor]) -> Tensor:
        return self.logits(batch).softmax(-1)

    def loss(self, batch: dict[str, Any]) -> Loss:
        loss = taught(self._of_labels(batch), batch)
        if UNLABELLED in batch:
            plain = loss.total if loss.plain is None else loss.plain
            return Loss(loss.total + self.consistency(batch[UNLABELLED]), loss.count, plain)
        return loss

    def consistency(self, rows: dict[str, Any]) -> Tensor:
        """How far its answers to rows without a label are from a teacher's: () the sum over rows.

        The teacher's are ``probabilities`` (B, C), of which each row counts by its ``weights`` (B,), or a ``Lesson``. Where there is
        a ``changed`` form of the rows, that is what is read.
        """
        logits = self.logits(self.with_words_dropped(rows.get("changed", rows)))
        if TEACHER in rows:
            return rows[TEACHER].alone(logits).sum()
        return (squared_distance(logits.softmax(-1), rows["probabilities"]) * rows["weights"]).sum()

    def _of_labels(self, batch: dict[str, Any]) -> Loss:
        labels, weights = batch["labels"], self.class_weights
        own = batch["weights"] if "weights" in batch else torch.ones(len(labels), device=labels.device)
        counts = own if weights is None else own * weights[labels]  # (B,): how much each row counts
        vectors = self.vectors(self.with_words_dropped(batch))
        logits = self.head(vectors).float()
        each = partial(F.cross_entropy, weight=weights, reduction="none")
        plain = (each(logits, labels) * own).sum()
        if not (self.label_smoothing or (self.training and (self.r_drop or self.mixup))):
            return Loss(plain, counts.sum(), None, logits, counts)
        each = partial(each, label_smoothing=self.label_smoothing)
        if self.training and self.mixup:
            share, partner = draw_mix(len(labels), self.mixup, vectors.device)
            mixed = self.head(share * vectors + (1 - share) * vectors[partner]).float()
            losses = share * each(mixed, labels) * own + (1 - share) * each(mixed, labels[partner]) * own[partner]
        elif self.training and self.r_drop:
            again = self.logits(self.with_words_dropped(batch))  # with other units, and words, dropped
            losses = (each(logits, labels) + each(again, labels)) / 2 * own
            losses = losses + self.r_drop * divergence(logits, again) * counts
        else:
            losses = each(logits, labels) * own
        return Loss(losses.sum(), counts.sum(), plain, logits, counts)

    def evaluate_batch(self, batch: dict[str, Tensor], split: Split | None = None) -> dict[str, Tensor]:
        """``probabilities`` (B, C) and ``labels`` (B,)."""
        return {"probabilities": self.probabilities(batch), "labels": batch["labels"]}

    def metrics(self, table: dict[str, Tensor], split: Split) -> dict[str, Estimate]:
        return classification_metrics(table["probabilities"], table["labels"], resamples=split.resamples)

    def describe(self, table: dict[str, Tensor], split: Split) -> list[dict[str, Any]]:
        names = self.facts.labels
        truth = [names[label] for label in table["labels"].tolist()]
        return answered_rows(table["index"].tolist(), truth, table["probabilities"].numpy(), names)

    def sections(self, rows: list[dict[str, Any]], data: TextData, split: str) -> list[Section]:
        if not rows:
            return []
        examples, places = data.examples(split), [row["index"] for row in rows]
        letters = np.array([len(row["text"]) + len(row.get("text_pair") or "") for row in rows])
        cut = examples.truncated_rows[places]
        a_token = letters / np.maximum(examples.lengths(training=False)[places], 1)
        features = {
            "characters": letters,
            "characters a token (rare words have few)": np.where(cut, np.nan, a_token),
            "a text cut to fit / a text read whole": cut,
        }
        return classification_sections(rows, self.facts.labels, features)

    def answer_score(self, batch: dict[str, Tensor]) -> tuple[str, Callable[[dict[str, Tensor]], Tensor]]:
        """The likeliest class, and its log odds, log p / (1 - p)."""
        with torch.no_grad():
            best = int(self.logits(batch).argmax(-1)[0])

        def log_odds(batch: dict[str, Tensor]) -> Tensor:
            logits = self.logits(batch)
            others = torch.arange(logits.shape[-1], device=logits.device) != best
            return logits[:, best] - logits[:, others].logsumexp(-1)

        return self.facts.labels[best], log_odds

    def across(self, results: Mapping[str, Results]) -> dict[str, Estimate]:
        return temperature_figures({name: found.predictions for name, found in results.items()}, self.facts.labels)

    def classical(self) -> LogisticRegression:
        return LogisticRegression()

    def predict_batch(self, batch: dict[str, Tensor]) -> list[dict[str, Any]]:
        return named_classes(self.probabilities(batch).cpu().numpy(), self.facts.labels)


def _class_weights(choice: str | list[float] | None, facts: Facts) -> Tensor | None:
    if choice is None:
        return None
    if choice == "balanced":  # as scikit-learn: rows / (classes x rows of the class), of the classes that have rows
        counts = torch.tensor(facts.label_counts, dtype=torch.float)
        present = counts > 0
        return torch.where(present, counts.sum() / (present.sum() * counts.clamp(min=1)), 1.0)
    weights = torch.tensor([float(weight) for weight in choice])
    if len(weights) != len(facts.labels):
        raise ArgumentError(
            f"class_weights has {len(weights)} numbers for {len(facts.labels)} classes: give one a class in the order of "
            f"{', '.join(facts.labels)}",
            "class_weights=balanced",
        )
    return weights
