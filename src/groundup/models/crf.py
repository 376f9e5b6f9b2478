"""A linear-chain conditional random field: tags of a sentence scored together, each with the one before it.

The score of tags y is ``start[y_1] + sum emissions[t, y_t] + sum transitions[y_t, y_t+1] + end[y_T]``, and p(y) is its
softmax over all tags that a sentence may have. Sums over them take time with the length, by dynamic programming.
Everything is in logarithms and float32. Source: Lafferty et al. 2001; Lample et al. 2016.

Shapes: ``emissions`` (B, T, C); ``mask`` (B, T) bool, the real words first; a row without any is a sentence without words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from groundup.models.heads import Head

IMPOSSIBLE = -1e4  # score of what may not be; minus infinity would make gradients and differences of two NaN
_CELLS = 1 << 22  # pairs of tags that are held at a time


class Scores(NamedTuple):
    """``start`` (C,), ``transitions`` (C, C) from a row to a column, ``end`` (C,)."""

    start: Tensor
    transitions: Tensor
    end: Tensor


class Chain(Head):
    """The scores of neighbouring tags, which are learned; zero at the start, so that each tag stands for itself.

    ``forbidden``: those that may not be, as lists of truth values in the shapes of ``Scores``. They count when tags are
    chosen alone: data may break the rules, and its loss must stay finite.
    """

    no_start: Tensor
    no_transitions: Tensor
    no_end: Tensor

    def __init__(self, classes: int, forbidden: Sequence[Sequence] | None = None):
        super().__init__()
        self.start = nn.Parameter(torch.zeros(classes))
        self.transitions = nn.Parameter(torch.zeros(classes, classes))
        self.end = nn.Parameter(torch.zeros(classes))
        for name, rule in zip(Scores._fields, forbidden or (False, False, False), strict=True):
            self.register_buffer(f"no_{name}", torch.tensor(rule), persistent=False)

    def forward(self, choosing: bool = False) -> Scores:
        """``choosing``: with what is forbidden out of reach."""
        scores = Scores(self.start.float(), self.transitions.float(), self.end.float())
        if not choosing:
            return scores
        rules = (self.no_start, self.no_transitions, self.no_end)
        return Scores(*(own.masked_fill(rule, IMPOSSIBLE) for own, rule in zip(scores, rules, strict=True)))


class Messages(NamedTuple):
    """Of each place and tag, the log of the sum over all that may stand before (``alpha``) and behind it (``beta``), its own
    emission in both: (B, T, C). ``log_normalizer`` (B,): of all tags of the sentence; 0 where it has no words."""

    alpha: Tensor
    beta: Tensor
    log_normalizer: Tensor


def messages(emissions: Tensor, scores: Scores, mask: Tensor) -> Messages:
    """Both passes of the forward-backward algorithm side by side, in one loop over places. Source: Rabiner 1989."""
    B, T, C = emissions.shape
    place, lengths = torch.arange(T, device=mask.device), mask.sum(1)
    turned = torch.where(place < lengths[:, None], lengths[:, None] - 1 - place, place)[:, :, None].expand(B, T, C)
    both = torch.stack((emissions, emissions.gather(1, turned)))  # (2, B, T, C): read from the left, and from the right
    matrix = torch.stack((scores.transitions.T, scores.transitions))[:, None]  # (2, 1, C, C): to, from
    state = torch.stack((scores.start, scores.end))[:, None] + both[:, :, 0]
    states = [state]
    for step in range(1, T):
        new = (state[:, :, None] + matrix).logsumexp(-1) + both[:, :, step]
        state = torch.where(mask[:, step, None], new, state)
        states.append(state)
    alpha, beta = torch.stack(states, dim=2)
    total = (state[0] + scores.end).logsumexp(-1)
    return Messages(alpha, beta.gather(1, turned), torch.where(lengths > 0, total, 0.0))


def log_normalizer(emissions: Tensor, scores: Scores, mask: Tensor) -> Tensor:
    """``log sum_y exp(score(y))`` of each sentence (B,), with its gradient: the marginals."""
    return _LogNormalizer.apply(emissions.float(), *scores, mask)


def log_score(emissions: Tensor, scores: Scores, mask: Tensor, tags: Tensor) -> Tensor:
    """The score of ``tags`` (B, T) of each sentence (B,)."""
    steps, ends = _steps(emissions, scores, mask, tags)
    return steps.sum(1) + ends


def marginals(emissions: Tensor, found: Messages) -> Tensor:
    """Of each place, the probability of each tag (B, T, C); what stands at padding is of no meaning."""
    return (found.alpha + found.beta - emissions - found.log_normalizer[:, None, None]).exp()


def best_tags(emissions: Tensor, scores: Scores, mask: Tensor) -> Tensor:
    """The tags of the highest score (B, T); padding repeats the last one. Source: Viterbi 1967."""
    B, T, C = emissions.shape
    stay = torch.arange(C, device=mask.device).expand(B, C)
    state = scores.start + emissions[:, 0]
    pointers = []
    for step in range(1, T):
        best, before = (state[:, :, None] + scores.transitions).max(1)
        real = mask[:, step, None]
        state = torch.where(real, best + emissions[:, step], state)
        pointers.append(torch.where(real, before, stay))
    tags = [(state + scores.end).argmax(-1, keepdim=True)]
    for pointer in reversed(pointers):
        tags.append(pointer.gather(1, tags[-1]))
    return torch.cat(tags[::-1], dim=1)


def sides(emissions: Tensor, scores: Scores, mask: Tensor, tags: Tensor) -> tuple[Tensor, Tensor]:
    """``left`` and ``right`` (B, T) of ``tags``: ``exp(left[i] + right[j])`` is the probability that the words i to j all
    have their tags, whatever the others have. float64, as both are sums over the sentence."""
    found = messages(emissions, scores, mask)
    steps, _ = _steps(emissions, scores, mask, tags)
    so_far = steps.double().cumsum(1)
    alpha, beta, own = (x.gather(2, tags[:, :, None]).squeeze(2).double() for x in (found.alpha, found.beta, emissions))
    return alpha - so_far, beta - own + so_far - found.log_normalizer.double()[:, None]


def _steps(emissions: Tensor, scores: Scores, mask: Tensor, tags: Tensor) -> tuple[Tensor, Tensor]:
    """What each word adds to the score of ``tags``, itself and with the word before it (B, T), and the sentence's end (B,)."""
    own = emissions.gather(2, tags[:, :, None]).squeeze(2)
    before = torch.cat((scores.start[tags[:, :1]], scores.transitions[tags[:, :-1], tags[:, 1:]]), dim=1)
    lengths = mask.sum(1)
    last = tags.gather(1, (lengths - 1).clamp(min=0)[:, None]).squeeze(1)
    return torch.where(mask, own + before, 0.0), torch.where(lengths > 0, scores.end[last], 0.0)


class _LogNormalizer(torch.autograd.Function):
    """The gradient is known in closed form, so no loop has to be kept and run backwards."""

    @staticmethod
    def forward(ctx, emissions, start, transitions, end, mask):
        found = messages(emissions, Scores(start, transitions, end), mask)
        ctx.save_for_backward(emissions, transitions, mask, *found)
        return found.log_normalizer

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        emissions, transitions, mask, *found = ctx.saved_tensors
        alpha, beta, total = found
        B, T, C = alpha.shape
        single = marginals(emissions, Messages(*found)).masked_fill(~mask[:, :, None], 0.0) * gradient[:, None, None]
        pairs = torch.zeros_like(transitions)
        beta = beta - total[:, None, None]
        for begin in range(0, T - 1, size := max(1, _CELLS // (B * C * C))):
            left = slice(begin, min(begin + size, T - 1))
            right = slice(left.start + 1, left.stop + 1)
            pair = (alpha[:, left, :, None] + transitions + beta[:, right, None]).exp()
            pair = pair.masked_fill(~mask[:, right, None, None], 0.0)
            pairs += torch.einsum("b,btij->ij", gradient, pair)
        lengths = mask.sum(1)
        last = single.gather(1, (lengths - 1).clamp(min=0)[:, None, None].expand(B, 1, C)).squeeze(1)
        return single, single[:, 0].sum(0), pairs, last.sum(0), None
