"""The best spans of a text that was read in windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Span(NamedTuple):
    """Characters [start, end) of the context; ``score``: start + end logit, less those of no answer."""

    start: int
    end: int
    score: float


class Found(NamedTuple):
    """Spans of a context, best first, none twice; ``log_normalizer``: their log-probability is their score less this."""

    spans: list[Span]
    log_normalizer: float


def best_spans(logits: Tensor, begins: Tensor, ends: Tensor, longest: int, count: int) -> dict[str, Tensor]:
    """Of each window the best spans of at most ``longest`` tokens.

    Args:
        logits: (B, T, 2) of first and last token; position 0 stands for no answer.
        begins, ends: (B, T) characters that each token stands for; a span begins and ends at one that has some.

    Returns:
        ``begins``, ``ends``, ``scores`` (B, count): characters, and start + end logit less those of no answer, -inf where
        there are no more; ``log_starts``, ``log_ends`` (B,): log of the sum of exp over all tokens, on the same scale.
    """
    real = ends > begins  # (B, T)
    relative = (logits - logits[:, :1]).masked_fill(~real[..., None], float("-inf"))
    start, end = relative.unbind(-1)
    T = start.shape[1]
    longest = min(longest, T)
    # (B, T, longest): the end logit of each span, by its first token and its length; beyond the window there is none
    following = torch.nn.functional.pad(end, (0, longest - 1), value=float("-inf")).unfold(1, longest, 1)
    scores = (start.unsqueeze(-1) + following).flatten(1)
    kept = min(count, scores.shape[1])
    top, place = scores.topk(kept, dim=1)
    first, last = place // longest, place // longest + place % longest
    found = {"begins": begins.gather(1, first), "ends": ends.gather(1, last.clamp(max=T - 1)), "scores": top}
    if kept < count:
        room = (0, count - kept)
        fill = {"begins": 0, "ends": 0, "scores": float("-inf")}
        found = {name: torch.nn.functional.pad(value, room, value=fill[name]) for name, value in found.items()}
    return {**found, "log_starts": start.logsumexp(1), "log_ends": end.logsumexp(1)}


def join_windows(windows: Sequence[dict[str, np.ndarray]], count: int) -> Found:
    """The best spans over all windows of a context, each a row of ``best_spans``.

    Windows are compared by their scores against no answer, which all of them can say; a softmax over each alone would
    favour a window without anything like an answer. With one window, probabilities are those of its two softmaxes.
    """
    best: dict[tuple[int, int], float] = {}
    for window in windows:
        for start, end, score in zip(*(window[name].tolist() for name in ("begins", "ends", "scores")), strict=True):
            if score > best.get((start, end), float("-inf")):
                best[start, end] = score
    ordered = sorted(best.items(), key=lambda item: (-item[1], item[0]))[:count]
    sides = [np.array([0.0, *(float(window[name]) for window in windows)]) for name in ("log_starts", "log_ends")]
    log_normalizer = sum(float(np.logaddexp.reduce(side)) for side in sides)
    return Found([Span(*place, score) for place, score in ordered], log_normalizer)
