"""Beam search: the most likely texts, several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from groundup.decoding.decoding import Decoding, Hypothesis, OrOff
from groundup.decoding.logits import NEVER, Rules, largest, normalizer
from groundup.decoding.rows import Rows
from groundup.errors import ArgumentError
from groundup.ranges import Count

Weight = Annotated[float, Field(ge=0)]


class Extensions(NamedTuple):
    """Beginnings with one more token, of S prompts and G groups; all (S, G, n), most likely first."""

    row: Tensor  # the row that is extended
    token: Tensor  # -1: by nothing that would be kept
    total: Tensor  # log-probability of the whole; -inf: there is none

    @property
    def real(self) -> Tensor:
        """Which of them there are, (S, G, n) bool."""
        return self.total > NEVER

    def only(self, mask: Tensor) -> Extensions:
        """Those where ``mask`` is true, of any shape that broadcasts to (S, G, n)."""
        return self._replace(total=self.total.masked_fill(~mask, NEVER))


class Beam(Decoding):
    """Keeps the ``beam_size`` most likely beginnings, extends each by every token, and keeps the best again.

    Of the ``beam_size`` best extensions, those by the end token are finished texts, and the others go on. The search
    ends at the maximum length, or as soon as no beginning can still come before the ``n_best``-th finished text; their
    number alone ends nothing, as a text that is nearly certain has many unlikely ends beside it. Finished texts, and
    those cut at the maximum length, are ranked by ``log_probability / length ** length_penalty`` (Wu et al. 2016): 0
    favours short texts, above 1 long ones. A beam of 1 is greedy decoding.

    ``groups``: the beam is split, and each group pays ``diversity`` for a token as often as groups before it chose that
    token at this step (Vijayakumar et al. 2018). This and the repetition penalty change which extensions are kept,
    never what they score.
    """

    def __init__(
        self,
        beam_size: Annotated[int, Field(ge=1, le=200)] = 5,
        length_penalty: Weight = 1.0,
        n_best: Count = 1,
        groups: Count = 1,
        diversity: Weight = 0.0,
        repetition_penalty: Annotated[float, Field(gt=0)] = 1.0,
        no_repeat_ngram: OrOff | None = None,
        min_new_tokens: Annotated[int, Field(ge=0)] = 0,
        max_new_tokens: Count = 128,
    ):
        super().__init__(repetition_penalty, no_repeat_ngram, min_new_tokens, max_new_tokens)
        if n_best > beam_size:
            raise ArgumentError(f"n_best={n_best} needs a beam as large", f"beam_size={n_best}")
        if beam_size % groups:
            fits = -(-beam_size // groups) * groups
            raise ArgumentError(f"beam_size={beam_size} cannot be split into groups={groups}", f"beam_size={fits}")
        if diversity and groups == 1:
            raise ArgumentError(f"diversity={diversity} is between groups of beams", f"groups={beam_size}")
        if groups > 1 and not diversity:
            raise ArgumentError(f"groups={groups} without diversity all find the same texts", "diversity=0.5")
        self.beam_size, self.groups, self.width = beam_size, groups, beam_size // groups
        self.length_penalty, self.n_best, self.diversity = length_penalty, n_best, diversity

    def search(self, rows: Rows, rules: Rules, maximums: Sequence[int]) -> list[list[Hypothesis]]:
        """The ``n_best`` hypotheses of each prompt, best first. ``maximums``: new tokens of each prompt at most."""
        found: list[list[Hypothesis]] = [[] for _ in maximums]
        searched = list(range(len(found)))  # the S prompts whose beams are in rows
        live = torch.zeros(len(found), self.groups, 1, device=rows.device)  # log-probabilities of the beginnings
        while searched:
            logits = rows.logits()
            lost = normalizer(logits).view(len(searched), -1)  # before any token is forbidden
            beams, finished = self.extend(live, lost, logits, rules(logits, rows), rules.eos_id)
            limits = torch.tensor([maximums[prompt] for prompt in searched], device=rows.device)
            full = limits == rows.written + 1
            length = rows.written + 1  # the end token included
            self.collect(finished, length, rows, found, searched, finished=True)
            self.collect(beams.only(full[:, None, None]), length, rows, found, searched)
            nothing = torch.tensor([not found[prompt] for prompt in searched], device=rows.device)
            stuck = nothing & ~beams.real.any(2).any(1)  # every token is forbidden: the text stays as it is
            if stuck.any():
                row = torch.arange(len(logits), device=rows.device).view(len(searched), -1, live.shape[2])
                whole = Extensions(row.expand_as(live), torch.full_like(live, -1, dtype=torch.long), live)
                self.collect(whole.only(stuck[:, None, None]), max(1, rows.written), rows, found, searched)

            bounds = self.bound(beams.total.amax((1, 2)), limits).masked_fill(full, NEVER).tolist()
            left = [i for i, prompt in enumerate(searched) if bounds[i] > self.to_beat(found[prompt])]
            searched = [searched[i] for i in left]
            if searched:
                kept = torch.tensor(left, device=rows.device)
                live = beams.total[kept]
                rows.reorder(beams.row[kept].flatten())
                rows.append(beams.token[kept].flatten())
        return found

    def extend(
        self, live: Tensor, lost: Tensor, logits: Tensor, allowed: Tensor, eos_id: int
    ) -> tuple[Extensions, Extensions]:
        """The next beams (S, G, k), and the texts that end now.

        ``live`` (S, G, k): log-probabilities of the rows; (S, G, 1) at first, where all groups grow from one row.
        ``lost`` (S, rows of each): what makes log-probabilities of ``logits`` (rows, V); ``allowed`` (rows, V): what to
        choose by.
        """
        S, _, width = live.shape
        V = logits.shape[-1]
        logits, allowed = logits.view(S, -1), allowed.view(S, -1, V)
        first = torch.arange(S, device=live.device)[:, None] * allowed.shape[1]
        count = min(self.width, V)  # extensions of a beam that matter
        beams: list[Extensions] = []
        finished: list[Extensions] = []
        for group in range(self.groups):
            start = group * width if allowed.shape[1] > 1 else 0
            mine = slice(start, start + width)
            scores = self.pay(allowed[:, mine], beams) if self.diversity else allowed[:, mine]
            best, token = (part.unflatten(0, (S, -1)) for part in largest(scores.flatten(0, 1), count))
            base = live[:, group] - lost[:, mine]
            ranked = (base[..., None] + best).flatten(1)
            missing = max(0, self.width - ranked.shape[1])
            rank, at = F.pad(ranked, (0, missing), value=NEVER).topk(self.width)
            at = at.clamp(max=ranked.shape[1] - 1)
            beam, token = at // count, token.flatten(1).gather(1, at)
            total = base.gather(1, beam) + logits.gather(1, (beam + start) * V + token)
            kept = Extensions(beam + start + first, token, total.masked_fill(rank == NEVER, NEVER))
            ends = token == eos_id
            finished.append(kept._replace(token=torch.full_like(token, -1)).only(ends))
            beams.append(kept.only(~ends))
        return stack(beams), stack(finished)

    def pay(self, scores: Tensor, earlier: list[Extensions]) -> Tensor:
        """Scores (S, k, V), less for tokens that earlier groups chose."""
        for chosen in earlier:
            cost = torch.where(chosen.real, -self.diversity, 0.0)[:, None].expand(-1, scores.shape[1], -1)
            scores = scores.scatter_add(2, chosen.token[:, None].expand_as(cost), cost)
        return scores

    def collect(
        self, new: Extensions, length: int, rows: Rows, found, searched: list[int], finished: bool = False
    ) -> None:
        """Adds texts of ``length`` tokens to those of their prompts, best first, where they are among the ``n_best``."""
        scores = new.total.double() / length**self.length_penalty
        beaten = scores.new_tensor([self.to_beat(found[prompt]) for prompt in searched])
        where = (scores > beaten[:, None, None]).nonzero(as_tuple=True)
        row, token, total, score = (part[where] for part in (*new, scores))
        prompts = [searched[i] for i in where[0].tolist()]
        for prompt, text, last, log_probability, ranked in zip(
            prompts, rows.texts(row), token.tolist(), total.tolist(), score.tolist(), strict=True
        ):
            if last >= 0:
                text.append(last)
            texts = found[prompt]
            if not any(other.tokens == text and other.finished == finished for other in texts):  # by another group
                texts.append(Hypothesis(text, ranked, log_probability, finished))
                texts.sort(key=lambda one: -one.score)
                del texts[self.n_best :]

    def bound(self, total: Tensor, limits: Tensor) -> Tensor:
        """The best score (S,) that texts can end with that begin with these log-probabilities (S,): nothing more is lost, and they
        become as long as they may, ``limits`` (S,)."""
        return total.double() / limits.double() ** self.length_penalty

    def to_beat(self, texts: list[Hypothesis]) -> float:
        return texts[self.n_best - 1].score if len(texts) >= self.n_best else NEVER


def stack(groups: list[Extensions]) -> Extensions:
    """(S, n) of each group -> (S, G, n)."""
    return Extensions(*(torch.stack(parts, dim=1) for parts in zip(*groups, strict=True)))
