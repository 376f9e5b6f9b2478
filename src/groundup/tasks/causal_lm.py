"""Causal language modelling: predict each token from those before it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from groundup.data.collate import CausalCollator
from groundup.data.facts import Facts
from groundup.data.tokenizer import Tokenizer
from groundup.tasks.base import Loss
from groundup.tasks.language_model import LanguageModel


class CausalLM(LanguageModel):
    """P(x_t | x_<t) by a decoder; ``labels[b, t]`` is the token after ``input_ids[b, t]``.

    Metrics: loss (nats a token), perplexity, bits per byte of the raw text, accuracy of the most likely token.
    """

    accepts = ("decoder",)

    def __init__(self, model: nn.Module, facts: Facts, tied: bool = True) -> None:
        super().__init__(model, facts, tied=tied)

    def collator(self, tokenizer: Tokenizer) -> Callable:
        return CausalCollator(self.facts)

    def hidden_states(self, batch: dict[str, Tensor]) -> Tensor:
        hidden, _ = self.model(
            batch["input_ids"],
            attention_mask=batch.get("attention_mask"),
            position_ids=batch.get("position_ids"),
            document_ids=batch.get("document_ids"),
        )
        return hidden

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        # Nearly every position is scored, so the whole (B T, V) product is cheaper than choosing rows first.
        logits, labels = self.head(self.hidden_states(batch)), batch["labels"]
        total = nn.functional.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="sum")
        return Loss(total, (labels != -100).sum().float())

    def predict_batch(self, batch: dict[str, Tensor]) -> list[dict[str, Any]]:
        """Score of each text: its mean loss a token and perplexity."""
        table = self.evaluate_batch(batch)
        losses = table["nll"] / table["count"].clamp(min=1)
        return [
            {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "tokens": count}
            for loss, count in zip(losses.tolist(), table["count"].tolist(), strict=True)
        ]

    @torch.inference_mode()
    def sample(self, tokenizer: Tokenizer, prompt: str, max_new_tokens: int, seed: int) -> str:
        """A continuation of ``prompt``, for a look at what the model has learned."""
        raise NotImplementedError
