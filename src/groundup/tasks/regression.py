"""Regression: a number for a text, or for a pair of texts, such as how alike they are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from groundup.baselines.regression import Ridge
from groundup.data.examples import SplitToEncode
from groundup.data.facts import Facts, Scale
from groundup.data.labelled import LabelledText
from groundup.data.loading import Collate
from groundup.data.sources.source import Source
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.metrics.estimate import Estimate
from groundup.metrics.regression import REGRESSION, judge_scores, regression_metrics, regression_sections
from groundup.metrics.sections import Section
from groundup.models.backbone import Backbone
from groundup.models.heads import PoolingKind
from groundup.ranges import Rate
from groundup.tasks.distillation import taught
from groundup.tasks.evaluation import Split
from groundup.tasks.pooled import Pair, PooledTask
from groundup.tasks.trainable import Loss, Optimize
from groundup.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)


class ScoredText(LabelledText):
    """Texts, or pairs, as ``LabelledText`` has them, with a number each: ``labels`` is a float.

    Raises ``UserError`` for a row without a finite score, or a train split whose scores are all one.
    """

    learns = "score"

    @classmethod
    def label_names(cls, source: Source) -> tuple[tuple[str, ...], tuple[int, ...]]:
        return (), ()

    def targets_of(self, given: SplitToEncode) -> np.ndarray:
        """Scores (rows,) float64."""
        numbers = np.array([float(name) for name in self.encoded.label_names] or [np.nan])
        scores = np.where(self.encoded.labels < 0, np.nan, numbers[self.encoded.labels])
        if (wrong := np.flatnonzero(~np.isfinite(scores))).size:
            raise UserError(
                f"row {wrong[0] + 1} of the {given.split} split has no finite score: mend it, or remove the row"
            )
        if given.split == "train" and len(numbers) < 3:
            said = f"the train split has {len(numbers)} different score{'s' if len(numbers) > 1 else ''}"
            if len(numbers) == 1:
                raise UserError(f"{said}, {numbers[0]:g}: nothing can be learned of it. Try data.score=COLUMN")
            log.warning("%s: if they are classes, task=classification data.label=COLUMN tells them apart better", said)
        return scores

    @property
    def scale(self) -> Scale:
        scores: Any = self.targets
        with np.errstate(over="ignore"):
            found = Scale(*map(float, (scores.mean(), scores.std(), scores.min(), scores.max())))
        if not (np.isfinite(found).all() and found.deviation > 0):
            raise UserError(
                f"scores from {found.low:g} to {found.high:g} are beyond what can be computed with: scale them"
            )
        return found


class ScoreCollator:
    """Batches of ``pad``'s whose ``labels`` (B,) float32 are in deviations from the mean of the train split's scores."""

    def __init__(self, scale: Scale, pad: Collate) -> None:
        self.scale, self.pad = scale, pad

    def __call__(self, examples: Sequence[dict[str, Any]], seeds: Sequence[int]) -> dict[str, Tensor]:
        mean, deviation, *_ = self.scale
        scored = [{**one, "labels": (one["labels"] - mean) / deviation} if "labels" in one else one for one in examples]
        return self.pad(scored, seeds)


class Regression(PooledTask):
    """Pooled hidden states and one linear map to a number, trained on standardised scores.

    ``loss``: squared (``mse``), absolute (``mae``) or squared up to one deviation and absolute beyond (``huber``), of
    scores in deviations from their mean; figures and answers are in the unit of the data. ``pair``: see ``PooledTask``.
    ``clip``: no answer is outside of the scores that training saw.
    """

    examples = ScoredText
    columns = ("text", "score")
    reports = REGRESSION
    answers = ("predicted",)
    taught_by = "rows"
    judge = staticmethod(judge_scores)

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        loss: Literal["mse", "mae", "huber"] = "mse",
        pair: Pair = "apart",
        pooling: PoolingKind = "mean",
        dropout: Rate = 0.1,
        word_dropout: Rate = 0.0,
        clip: bool = False,
        optimize: Optimize | None = None,
    ) -> None:
        super().__init__(model, facts, tokenizer, 1, pooling, dropout, word_dropout, optimize, pair=pair)
        assert facts.scale is not None  # see check_facts
        self.scale: Scale = facts.scale
        self.criterion, self.clip = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.smooth_l1_loss}[loss], clip

    @classmethod
    def check_facts(cls, facts: Facts) -> None:
        if facts.scale is None:
            raise UserError("task=regression needs a training split with scores. Try data.score=COLUMN")

    def collator(self) -> Collate:
        return ScoreCollator(self.scale, super().collator())

    def standardised(self, batch: dict[str, Tensor]) -> Tensor:
        """Predictions in deviations from the mean (B,) float32."""
        return self.logits(batch).squeeze(-1)

    def graph(self, batch: dict[str, Tensor]) -> Tensor:
        """Predictions in the unit of the data (B,). Raises UserError for pairs that are read apart."""
        mean, deviation, low, high = self.scale
        scores = super().graph(batch).squeeze(-1) * deviation + mean
        return scores.clamp(low, high) if self.clip else scores

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        found = self.standardised(self.with_words_dropped(batch))
        total = self.criterion(found, batch["labels"], reduction="sum")
        count = torch.tensor(float(len(batch["labels"])), device=total.device)
        return taught(Loss(total, count, logits=found), batch)

    def evaluate_batch(self, batch: dict[str, Tensor], split: Split) -> dict[str, Tensor]:
        """Predictions, ``standardised``, and their ``loss``, both (B,)."""
        found = self.standardised(batch)
        return {"standardised": found, "loss": self.criterion(found, batch["labels"], reduction="none")}

    def metrics(self, table: dict[str, Tensor], split: Split) -> dict[str, Estimate]:
        gold = split.examples.targets[table["index"].numpy()]  # type: ignore[attr-defined]  # ScoredText has them
        return regression_metrics(gold, self._scores(table["standardised"]), table["loss"], resamples=split.resamples)

    def describe(self, table: dict[str, Tensor], split: Split) -> list[dict[str, Any]]:
        places, status = table["index"].tolist(), split.examples.statuses(split.rows)
        scores = self._scores(table["standardised"]).tolist()
        return [
            {"index": index, "predicted": score, "status": status[index]}
            for index, score in zip(places, scores, strict=True)
        ]

    def answer_score(self, batch: dict[str, Tensor]) -> tuple[str, Callable[[dict[str, Tensor]], Tensor]]:
        """The predicted number, and what a batch's numbers are."""
        with torch.no_grad():
            (answer,) = self.predict_batch(batch)
        return f"{answer['predicted']:.3g}", lambda batch: self.scale.deviation * self.standardised(batch)

    def predict_batch(self, batch: dict[str, Tensor]) -> list[dict[str, Any]]:
        return [{"predicted": score} for score in self._scores(self.standardised(batch)).tolist()]

    def sections(self, rows: list[dict[str, Any]], data: TextData, split: str) -> list[Section]:
        return regression_sections(rows)

    def classical(self) -> Ridge:
        return Ridge()

    def _scores(self, standardised: Tensor) -> np.ndarray:
        """In the unit of the data (N,) float64."""
        scores = self.scale.mean + self.scale.deviation * standardised.cpu().double().numpy()
        return scores.clip(self.scale.low, self.scale.high) if self.clip else scores
