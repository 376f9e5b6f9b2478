"""Greedy decoding and sampling: each row on its own, one token after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from groundup.decoding.decoding import Decoding, Hypothesis, OrOff
from groundup.decoding.logits import NEVER, Rules, largest, normalizer
from groundup.decoding.rows import Rows
from groundup.ranges import Count

Kept = Annotated[float, Field(gt=0, le=1)]  # share of the probability that stays


class Sampler(Decoding):
    """Draws one token a row from its logits, after reshaping the distribution. Applied in the order below.

    ``temperature``: logits are divided by it; 0 takes the most likely token, which none of the others takes away.
    ``top_k``: only the k most likely. ``top_p``: only the smallest set of most likely tokens whose probability reaches
    p, the token that crosses p included (Holtzman et al. 2020). ``min_p``: only tokens with at least this share of the
    best token's probability (Nguyen et al. 2024). ``typical_p``: only the tokens whose surprise is nearest to the
    entropy, the smallest such set whose probability reaches p (Meister et al. 2023).
    """

    def __init__(
        self,
        temperature: Annotated[float, Field(ge=0)] = 1.0,
        top_k: OrOff | None = None,
        top_p: Kept | None = None,
        min_p: Annotated[float, Field(ge=0, le=1)] | None = None,
        typical_p: Kept | None = None,
        repetition_penalty: Annotated[float, Field(gt=0)] = 1.0,
        no_repeat_ngram: OrOff | None = None,
        min_new_tokens: Annotated[int, Field(ge=0)] = 0,
        max_new_tokens: Count = 128,
    ):
        super().__init__(repetition_penalty, no_repeat_ngram, min_new_tokens, max_new_tokens)
        self.temperature = temperature
        self.top_k = top_k or None
        self.top_p = top_p
        self.min_p = min_p
        self.typical_p = typical_p

    def steps(
        self, rows: Rows, rules: Rules, maximums: Sequence[int], seeds: Sequence[int]
    ) -> Iterator[list[tuple[int, int | None, Hypothesis | None]]]:
        """Yields, for each token, the rows that were still written: (which prompt, its token, its text once it is over).

        The token is None where the row has ended. ``maximums``: new tokens of each prompt at most. ``seeds``: of each.
        """
        uniform = None
        if self.temperature:
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            uniform = torch.stack([torch.rand(max(maximums), generator=one) for one in generators]).to(rows.device)
        active = list(range(len(maximums)))  # prompts whose texts are in rows
        texts: list[list[int]] = [[] for _ in active]
        totals = [0.0 for _ in active]
        while active:
            logits = rows.logits()
            lost = normalizer(logits)  # before any token is forbidden
            tokens = self(rules(logits, rows), None if uniform is None else uniform[rows.origin, rows.written])
            gains = logits.gather(1, tokens[:, None])[:, 0] - lost
            rows.append(tokens)
            step: list[tuple[int, int | None, Hypothesis | None]] = []
            for origin, token, gain in zip(active, tokens.tolist(), gains.tolist(), strict=True):
                text, stuck = texts[origin], gain == NEVER  # stuck: every token is forbidden
                ends = token == rules.eos_id and not stuck
                totals[origin] += 0 if stuck else gain
                if not (ends or stuck):
                    text.append(token)
                over = ends or stuck or rows.written == maximums[origin]
                score = totals[origin] / max(1, len(text) + ends)
                step.append((
                    origin,
                    None if ends or stuck else token,
                    Hypothesis(text, score, totals[origin], ends) if over else None,
                ))  # fmt: skip
            left = [i for i, (_, _, over) in enumerate(step) if over is None]
            if left and len(left) < len(active):
                rows.reorder(torch.tensor(left, device=rows.device))
            active = [active[i] for i in left]
            yield step

    def __call__(self, logits: Tensor, uniform: Tensor | None) -> Tensor:
        """logits (B, V), uniform (B,) in [0, 1) -> ids (B,).

        One number decides a row, by the inverse of its cumulative distribution: a row's draw depends on nothing but its
        own logits and number, so neighbours in the batch cannot change it.
        """
        if self.temperature == 0 or uniform is None:
            return largest(logits, 1)[1][:, 0]
        probabilities, ids = self.nucleus(logits)
        cumulative = probabilities.cumsum(-1)
        # Against the sum as computed, which may differ from 1 in the last digit: the draw cannot fall off the end.
        below = cumulative < (uniform.to(cumulative) * cumulative[:, -1])[:, None]
        return ids.gather(-1, below.sum(-1, keepdim=True)).squeeze(-1)

    def nucleus(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """What is drawn from: probabilities (B, K), most likely first, and their token ids (B, K)."""
        logits = logits.float()
        logits = (logits - logits.amax(-1, keepdim=True)) / self.temperature  # at most 0: no temperature is too low
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            logits, ids = largest(logits, self.top_k)
        else:
            logits, ids = logits.sort(dim=-1, descending=True, stable=True)
        probabilities = logits.softmax(-1)
        if self.top_p is not None:
            probabilities = until(probabilities, self.top_p)
        if self.min_p is not None:
            probabilities = probabilities.masked_fill(probabilities < self.min_p * probabilities[:, :1], 0)
        probabilities = probabilities / probabilities.sum(-1, keepdim=True)
        if self.typical_p is not None:
            surprise = -probabilities.log()
            entropy = torch.special.entr(probabilities).sum(-1, keepdim=True)
            order = (surprise - entropy).abs().argsort(dim=-1, stable=True)  # tokens of no probability come last
            kept = until(probabilities.gather(-1, order), self.typical_p)
            probabilities = torch.zeros_like(probabilities).scatter(-1, order, kept)
            probabilities = probabilities / probabilities.sum(-1, keepdim=True)
        return probabilities, ids


class Greedy(Sampler):
    """Takes the most likely token, always."""

    def __init__(
        self,
        repetition_penalty: Annotated[float, Field(gt=0)] = 1.0,
        no_repeat_ngram: OrOff | None = None,
        min_new_tokens: Annotated[int, Field(ge=0)] = 0,
        max_new_tokens: Count = 128,
    ):
        super().__init__(
            temperature=0,
            repetition_penalty=repetition_penalty,
            no_repeat_ngram=no_repeat_ngram,
            min_new_tokens=min_new_tokens,
            max_new_tokens=max_new_tokens,
        )


def until(probabilities: Tensor, mass: float) -> Tensor:
    """Zero behind the first tokens of a row (B, K) that together reach ``mass``; the one that crosses it stays."""
    before = probabilities.cumsum(-1) - probabilities
    return probabilities.masked_fill(before >= mass, 0)
