"""Greedy decoding and sampling: each row on its own, one token after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

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
        """What ``Drawing.step`` says of each token, by the number of its prompt, until all texts are over."""
        drawing = Drawing(self, rows, rules, maximums, seeds, range(len(maximums)))
        while drawing.open:
            yield drawing.step()

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


@dataclass
class Open:
    """A text that is not over: new tokens at most, those that it has, and their log-probability."""

    key: Any
    maximum: int
    tokens: list[int]
    log_probability: float = 0.0


class Drawing:
    """Texts that are drawn together, one token of each at a time; others may join them between two tokens.

    ``maximums``: new tokens of each at most; ``seeds``: of each; ``keys``: what each is called in the answers.
    A text depends on its own prompt and seed, not on those beside it, nor on when it joined them.
    """

    def __init__(
        self,
        sampler: Sampler,
        rows: Rows,
        rules: Rules,
        maximums: Sequence[int],
        seeds: Sequence[int],
        keys: Iterable[Any],
    ) -> None:
        self.sampler, self.rows, self.rules = sampler, rows, rules
        self.open = [Open(key, maximum, []) for key, maximum in zip(keys, maximums, strict=True)]  # as in rows
        self.uniform: Tensor | None = None  # (prompts, tokens) numbers in [0, 1), each of which decides a token
        if sampler.temperature:
            generators = [torch.Generator().manual_seed(seed) for seed in seeds]
            drawn = [torch.rand(max(maximums), generator=one) for one in generators]
            self.uniform = torch.stack(drawn).to(rows.device)

    @torch.inference_mode()
    def step(self) -> list[tuple[Any, int | None, Hypothesis | None]]:
        """One more token of each text: (its key, the token, the text once it is over). The token is None where it has ended."""
        rows, rules = self.rows, self.rules
        logits = rows.logits()
        lost = normalizer(logits)  # before any token is forbidden
        uniform = None if self.uniform is None else self.uniform[rows.origin, rows.lengths]
        tokens = self.sampler(rules(logits, rows), uniform)
        gains = logits.gather(1, tokens[:, None])[:, 0] - lost
        rows.append(tokens)
        step: list[tuple[Any, int | None, Hypothesis | None]] = []
        for one, token, gain in zip(self.open, tokens.tolist(), gains.tolist(), strict=True):
            stuck = gain == NEVER  # every token is forbidden
            ends = token == rules.eos_id and not stuck
            one.log_probability += 0 if stuck else gain
            if not (ends or stuck):
                one.tokens.append(token)
            text = None
            if ends or stuck or len(one.tokens) == one.maximum:
                score = one.log_probability / max(1, len(one.tokens) + ends)
                text = Hypothesis(one.tokens, score, one.log_probability, ends)
            step.append((one.key, None if ends or stuck else token, text))
        self.keep([place for place, (_, _, text) in enumerate(step) if text is None])
        return step

    @torch.inference_mode()
    def keep(self, places: Sequence[int]) -> None:
        """Goes on with the texts at these places of ``open`` alone."""
        if places and len(places) < len(self.open):
            self.rows.reorder(torch.tensor(places, device=self.rows.device))
        self.open = [self.open[place] for place in places]

    @torch.inference_mode()
    def join(self, other: Drawing) -> None:
        """Takes over the texts of ``other``, which are drawn by the same sampler from the same model, after a step of each."""
        self.rules.join(other.rules, self.rows, other.rows)
        if self.uniform is not None and other.uniform is not None:
            parts = self.uniform[self.rows.origin], other.uniform[other.rows.origin]
            longest = max(part.shape[1] for part in parts)
            self.uniform = torch.cat([F.pad(part, (0, longest - part.shape[1])) for part in parts])
        self.open += other.open
        self.rows.join(other.rows, max(one.maximum - len(one.tokens) for one in self.open))


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
