"""Denoising: restore a text from a noisy copy of it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from groundup.data.corruption import DenoisingCollator, sentence_end_ids
from groundup.data.facts import Facts
from groundup.data.loading import Collate
from groundup.data.packing import WholeWindows
from groundup.models.backbone import Backbone
from groundup.ranges import Rate
from groundup.tasks.evaluation import Split
from groundup.tasks.language_model import LanguageModel
from groundup.tasks.trainable import Optimize
from groundup.text.tokenizer import Tokenizer


class Denoising(LanguageModel):
    """BART's objective: sentences are shuffled, tokens deleted, spans replaced by one ``<mask>`` each; the decoder
    writes the text as it was.

    What noise, follows from (seed, epoch, row), and is fixed in evaluation. Source: Lewis et al. 2020.
    Metrics: loss (nats a token of the text), perplexity, accuracy, bits per byte given the noisy text.
    """

    examples = WholeWindows
    accepts = ("encoder_decoder",)

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        mask_ratio: Rate = 0.3,
        poisson_lambda: Annotated[float, Field(ge=1, le=100)] = 3.0,
        deletion: Rate = 0.0,
        permute_sentences: bool = True,
        tied: bool = True,
        optimize: Optimize | None = None,
    ) -> None:
        super().__init__(model, facts, tokenizer, tied, optimize)
        self.noise: dict[str, Any] = {
            "mask_ratio": mask_ratio,
            "poisson_lambda": poisson_lambda,
            "deletion": deletion,
            "permute_sentences": permute_sentences,
        }

    def bytes_per_token(self, split: Split) -> float | None:
        """Of the text for each scored token: the ``<eos>`` of each window is scored, and stands for nothing in it."""
        whole, windows = split.examples.bytes_per_token, split.examples.lengths(training=False)
        return None if whole is None else whole * windows.sum() / (windows.sum() + len(windows))

    def collator(self) -> Collate:
        return DenoisingCollator(self.facts, sentence_end_ids=sentence_end_ids(self.tokenizer), **self.noise)
