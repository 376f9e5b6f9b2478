"""Copying: a decoder that may point at a word of the source instead of writing one of its own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from groundup.models.attention import look, visible


class Source(NamedTuple):
    """What is pointed at: its ``ids`` (B, S), the encoder's output for them (B, S, D), that output as keys, and ``mask``
    (B, S), True = real token; None: all are."""

    ids: Tensor
    memory: Tensor
    key: Tensor
    mask: Tensor | None

    def of(self, index: Tensor) -> Source:
        return Source(*(None if part is None else part[index] for part in self))  # type: ignore[arg-type]


class Pointer(nn.Module):
    """``p(w) = (1 - c) p_vocabulary(w) + c x (attention to the places where the source has w)``.

    c, the share that is copied, follows from the hidden vector and from what it looks at. Source: the pointer-generator
    of See et al. 2017, here with an attention head of its own, so that it goes on top of any decoder.
    """

    def __init__(self, width: int):
        super().__init__()
        self.key = nn.Linear(width, width, bias=False)
        self.share = nn.Linear(2 * width, 1)
        nn.init.normal_(self.key.weight, std=width**-0.5)
        nn.init.zeros_(self.share.weight)
        nn.init.zeros_(self.share.bias)

    def source(self, ids: Tensor, memory: Tensor, mask: Tensor | None) -> Source:
        """Once a batch: ids (B, S), the encoder's output (B, S, D) and its mask."""
        return Source(ids, memory, self.key(memory), mask)

    def look(self, hidden: Tensor, source: Source) -> tuple[Tensor, Tensor]:
        """Hidden (B, T, D) -> where it points, (B, T, S), rows sum to one; and the share c (B, T, 1)."""
        scores = hidden @ source.key.mT * hidden.shape[-1] ** -0.5
        seen = visible(1, source.ids.shape[1], False, source.mask)
        weights = look(scores.unsqueeze(1), seen).squeeze(1)
        return weights, self.share(torch.cat((hidden, weights @ source.memory), dim=-1)).sigmoid()

    @staticmethod
    def mix(logits: Tensor, weights: Tensor, share: Tensor, ids: Tensor) -> Tensor:
        """Logits (N, V), weights (N, S), shares (N, 1), source tokens (N, S) -> log-probabilities (N, V) float32."""
        written = logits.float().softmax(-1) * (1 - share)
        mixed = written.scatter_add(1, ids, (weights * share).to(written.dtype))
        return mixed.clamp_min(torch.finfo(mixed.dtype).tiny).log()

    def next(self, source: Source, logits: Tensor, hidden: Tensor, origin: Tensor) -> Tensor:
        """For decoding: logits (N, V) and hidden (N, D) of rows that grew from the sources ``origin`` (N,), as many from
        each, side by side -> log-probabilities (N, V)."""
        source = source.of(origin.unique_consecutive())
        each = len(origin) // len(source.ids)
        weights, share = self.look(hidden.view(-1, each, hidden.shape[-1]), source)
        return self.mix(logits, weights.flatten(0, 1), share.flatten(0, 1), source.ids.repeat_interleave(each, dim=0))
