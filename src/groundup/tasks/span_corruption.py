"""Span corruption: write down the spans that are missing from a text."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from groundup.data.corruption import SpanCorruptionCollator
from groundup.data.facts import Facts
from groundup.data.loading import Collate
from groundup.data.packing import WholeWindows
from groundup.metrics.language import MISSING_PARTS
from groundup.models.backbone import Backbone
from groundup.tasks.evaluation import Split
from groundup.tasks.language_model import LanguageModel
from groundup.tasks.trainable import Optimize
from groundup.text.tokenizer import Tokenizer


class SpanCorruption(LanguageModel):
    """T5's objective: spans of the text become ``<mask>``, and the decoder writes each of them after its ``<mask>``.

    Which spans, follows from (seed, epoch, row), and is fixed in evaluation. Source: Raffel et al. 2020.
    Metrics: loss (nats a token of the target), perplexity, accuracy.
    """

    reports = MISSING_PARTS
    examples = WholeWindows
    accepts = ("encoder_decoder",)

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        noise_density: Annotated[float, Field(gt=0, lt=1)] = 0.15,
        mean_span_length: Annotated[float, Field(ge=1)] = 3.0,
        tied: bool = True,
        optimize: Optimize | None = None,
    ) -> None:
        super().__init__(model, facts, tokenizer, tied, optimize)
        self.noise_density, self.mean_span_length = noise_density, mean_span_length

    def collator(self) -> Collate:
        return SpanCorruptionCollator(self.facts, self.noise_density, self.mean_span_length)

    def bytes_per_token(self, split: Split) -> float | None:
        return None  # the missing spans are not the text
