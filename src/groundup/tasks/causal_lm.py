"""Causal language modelling: predict each token from those before it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from groundup.baselines.language import KneserNey
from groundup.data.collate import IGNORE, Collator
from groundup.data.facts import Facts
from groundup.data.loading import Collate
from groundup.decoding.decoding import Decoding
from groundup.decoding.generate import Spelling, drawing, spelled, stream
from groundup.decoding.sampling import Drawing, Sampler
from groundup.errors import UserError
from groundup.models.backbone import Backbone, DecoderBackbone
from groundup.tasks.base import Read, Writing
from groundup.tasks.distillation import taught
from groundup.tasks.language_model import LanguageModel
from groundup.tasks.trainable import Loss, Optimize
from groundup.text.tokenizer import Tokenizer

BEFORE = 64  # tokens of a prompt, which decide how the text after them begins: with a space, or within a word


class CausalLM(LanguageModel):
    """P(x_t | x_<t) by a decoder; ``labels[b, t]`` is the token after ``input_ids[b, t]``.

    Metrics: loss (nats a token), perplexity, bits per byte of the raw text, accuracy of the most likely token.
    """

    model: DecoderBackbone
    accepts = ("decoder",)
    writes = "continuation"
    answers = ("loss", "perplexity", "tokens")
    scored_at = 1

    def __init__(
        self,
        model: Backbone,
        facts: Facts,
        tokenizer: Tokenizer,
        tied: bool = True,
        optimize: Optimize | None = None,
    ) -> None:
        super().__init__(model, facts, tokenizer, tied, optimize)

    def collator(self) -> Collate:
        return Collator(self.facts)  # packed windows come with the token after each position as their labels

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        # Nearly every position is scored, so the whole (B T, V) product is cheaper than choosing rows first.
        logits, labels = self.head(self.hidden_states(batch)).flatten(0, 1).float(), batch["labels"].flatten()
        total = F.cross_entropy(logits, labels, reduction="sum")
        scored = labels != IGNORE
        return taught(Loss(total, scored.sum().float(), logits=logits, counts=scored), batch)

    def predict_batch(self, batch: dict[str, Tensor]) -> list[dict[str, Any]]:
        """Score of each text: its mean loss a token and perplexity."""
        table = self.evaluate_batch(batch)
        losses = table["nll"] / table["count"].clamp(min=1)
        return [
            {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "tokens": count}
            for loss, count in zip(losses.tolist(), table["count"].tolist(), strict=True)
        ]

    def classical(self) -> KneserNey:
        return KneserNey()

    def generate(self, prompt: str, prefix: str, read: Read, decoding: Decoding, seed: int) -> Writing:
        """The prompt, and what comes after it."""
        if not isinstance(decoding, Sampler):
            raise UserError("a language model goes on from a prompt by drawing. Try decoding=sample or decoding=greedy")
        if prefix:
            raise UserError(f"prefix={prefix} is for translations and summaries. Try prompt='{prompt}{prefix}'")
        yield prompt
        yield from self.continuation(prompt, decoding, seed)
        return None

    def continuation(self, prompt: str, sampler: Sampler, seed: int) -> Iterator[str]:
        """What comes after ``prompt``, in pieces: a piece ends where no later token can change it."""
        start = self.beginning(prompt)
        tokens = stream(self.model, self.head, [start], sampler=sampler, seed=[seed], **self._ends)
        yield from spelled(tokens, self.spelling(start))

    def beginning(self, prompt: str) -> list[int]:
        """The tokens after which a continuation of ``prompt`` comes: what stands before every document, then its own."""
        return [*self.tokenizer.begin, *self.tokenizer.encode(prompt)] or [self.facts.eos_id]

    def drawing(
        self,
        starts: Sequence[Sequence[int]],
        sampler: Sampler,
        seeds: Sequence[int],
        longest: Sequence[int],
        keys: Sequence[Any],
    ) -> Drawing:
        """The texts after ``starts``, of ``longest`` new tokens each at most: those of ``continuation``, as what others can join."""
        return drawing(
            self.model,
            self.head,
            starts,
            sampler=sampler,
            seeds=seeds,
            keys=keys,
            max_lengths=longest,
            **self._ends,
        )

    def spelling(self, start: Sequence[int]) -> Spelling:
        """Of what comes after ``start``."""
        before = list(start[-BEFORE:])
        while before and self.tokenizer.decode(before).startswith("\ufffd"):  # cut within a character
            del before[0]
        return Spelling(self.tokenizer.decode, before)

    @property
    def _ends(self) -> dict[str, Any]:
        return {"eos_id": self.facts.eos_id, "forbidden_ids": self.facts.unwritten_ids}
