"""How the next token is drawn from logits."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

Share = Annotated[float, Field(gt=0, le=1)]


class Sampler:
    """Draws one token a row from its logits, after reshaping the distribution. Applied in the order below.

    ``repetition_penalty``: logits of tokens already in the row are divided by it if positive, else multiplied (Keskar
    et al. 2019); 1 = off. ``temperature``: logits are divided by it; 0 takes the most likely token (greedy), whatever
    the words after it. ``top_k``: only the k most likely. ``top_p``: only the smallest set of most likely tokens whose
    probability reaches p, the token that crosses p included (Holtzman et al. 2020). ``min_p``: only tokens with at
    least this share of the best token's probability (Nguyen et al. 2024).
    """

    def __init__(
        self,
        temperature: Annotated[float, Field(ge=0)] = 1.0,
        top_k: Annotated[int, Field(ge=1)] | None = None,
        top_p: Share | None = None,
        min_p: Annotated[float, Field(ge=0, le=1)] | None = None,
        repetition_penalty: Annotated[float, Field(gt=0)] = 1.0,
    ):
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.min_p = min_p
        self.repetition_penalty = repetition_penalty

    def __call__(self, logits: Tensor, uniform: Tensor, seen: Tensor | None = None) -> Tensor:
        """logits (B, V), uniform (B,) in [0, 1), seen (B, V) bool or None -> ids (B,).

        One number decides a row, by the inverse of its cumulative distribution: a row's draw depends on nothing but its
        own logits and number, so neighbours in the batch cannot change it.
        """
        if self.temperature == 0:
            return self.penalize(logits.float(), seen).argmax(-1)
        probabilities, ids = self.nucleus(logits, seen)
        cumulative = probabilities.cumsum(-1)
        # Against the sum as computed, which may differ from 1 in the last digit: the draw cannot fall off the end.
        below = cumulative < (uniform.to(cumulative) * cumulative[:, -1])[:, None]
        return ids.gather(-1, below.sum(-1, keepdim=True)).squeeze(-1)

    def nucleus(self, logits: Tensor, seen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What is drawn from: probabilities (B, K), most likely first, and their token ids (B, K)."""
        logits = self.penalize(logits.float(), seen) / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            logits, ids = logits.topk(self.top_k, dim=-1)
        else:
            logits, ids = logits.sort(dim=-1, descending=True, stable=True)
        probabilities = logits.softmax(-1)
        if self.top_p is not None:
            before = probabilities.cumsum(-1) - probabilities
            # The first stays even where rounding says otherwise.
            crossed = (before >= self.top_p).index_fill(-1, torch.zeros(1, dtype=torch.long, device=ids.device), False)
            probabilities = probabilities.masked_fill(crossed, 0)
        if self.min_p is not None:
            probabilities = probabilities.masked_fill(probabilities < self.min_p * probabilities[:, :1], 0)
        return probabilities / probabilities.sum(-1, keepdim=True), ids

    def penalize(self, logits: Tensor, seen: Tensor | None) -> Tensor:
        if seen is None or self.repetition_penalty == 1:
            return logits
        weaker = torch.where(logits > 0, logits / self.repetition_penalty, logits * self.repetition_penalty)
        return torch.where(seen, weaker, logits)
