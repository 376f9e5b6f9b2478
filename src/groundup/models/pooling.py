"""From one vector a token to one vector a text."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn


class Pooling(nn.Module):
    """``cls``: first real token. ``last``: last real token. ``mean``, ``max``: over real tokens. ``attention``: a mean
    with learned weights (Yang et al. 2016). A row without real tokens gives zeros, or its first token.

    Shapes: hidden (B, T, D), attention_mask (B, T) bool or None -> (B, D).
    """

    def __init__(self, kind: Literal["cls", "mean", "max", "last", "attention"], width: int):
        super().__init__()
        if kind not in ("cls", "mean", "max", "last", "attention"):
            raise ValueError(f"pooling {kind!r}: choose cls, mean, max, last or attention")
        self.kind = kind
        self.score = nn.Linear(width, 1, bias=False) if kind == "attention" else None

    def forward(self, hidden: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        if attention_mask is None:
            attention_mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
        if self.kind in ("cls", "last"):
            order = torch.arange(hidden.shape[1], device=hidden.device) + 1
            at = (attention_mask * (order if self.kind == "last" else order.flip(0))).argmax(-1)
            return hidden[torch.arange(len(hidden), device=hidden.device), at]
        real = attention_mask.unsqueeze(-1)
        if self.kind == "max":
            return hidden.masked_fill(~real, float("-inf")).amax(1).masked_fill(~real.any(1), 0.0)
        if self.score is None:
            weights = real.to(hidden.dtype) / real.sum(1, keepdim=True).clamp(min=1)
        else:
            # The lowest finite number: a row of padding only stays a number, and is zeroed by ``* real``.
            scores = self.score(hidden).masked_fill(~real, torch.finfo(hidden.dtype).min)
            weights = scores.softmax(1) * real
        return (weights.to(hidden.dtype) * hidden).sum(1)
