"""Masked language modelling: fill in hidden tokens from both sides."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from groundup.data.collate import MaskedCollator
from groundup.data.examples import Examples
from groundup.data.facts import Facts
from groundup.data.loading import Collate
from groundup.data.packing import PackedText, SpelledText
from groundup.metrics.language import MISSING_PARTS
from groundup.models.backbone import Backbone
from groundup.models.heads import Transform
from groundup.tasks.evaluation import Split
from groundup.tasks.language_model import LanguageModel
from groundup.tasks.trainable import Optimize
from groundup.text.tokenizer import Tokenizer


class MaskedLM(LanguageModel):
    """BERT's objective: of the chosen tokens 80 % become ``<mask>``, 10 % a random token, 10 % stay.

    Which tokens are chosen follows from (seed, epoch, row), and is fixed in evaluation. Source: Devlin et al. 2019.
    A model with ``characters`` is not shown how a word is spelled of which a token is hidden.
    ``transform``: what lies between hidden vectors and the output matrix, see ``LanguageModelHead``.
    Metrics: loss (nats a chosen token), perplexity, accuracy. Bits per byte would not mean anything here.
    """

    reports = MISSING_PARTS
    accepts = ("encoder",)
    scored_at = 0

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        mask_rate: Annotated[float, Field(gt=0, lt=1)] = 0.15,
        tied: bool = False,
        transform: Transform = "rms",
        optimize: Optimize | None = None,
    ) -> None:
        super().__init__(model, facts, tokenizer, tied, optimize, transform)
        self.mask_rate = mask_rate

    @classmethod
    def examples_for(cls, kind: str, characters: bool = False) -> type[Examples]:
        return SpelledText if characters else PackedText

    def collator(self) -> Collate:
        return MaskedCollator(self.facts, self.mask_rate)

    def bytes_per_token(self, split: Split) -> float | None:
        return None  # the chosen tokens are not the text
