"""Text from a decoder: whole, by any way of decoding, or token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from groundup.decoding.beam import Beam
from groundup.decoding.decoding import Decoding, Hypothesis
from groundup.decoding.logits import Rules
from groundup.decoding.rows import Copy, Rows, evaluating
from groundup.decoding.sampling import Drawing, Greedy, Sampler
from groundup.models.backbone import DecoderBackbone

Prompts = Sequence[Sequence[int]]
BYTES = 4  # of a character, at most


@torch.inference_mode()
def decode(
    decoder: DecoderBackbone,
    head: nn.Module,
    prompts: Prompts,
    *,
    decoding: Decoding,
    seeds: Sequence[int] | None = None,
    **settings: Any,
) -> list[list[Hypothesis]]:
    """What the decoder writes after each prompt: hypotheses, best first. ``settings``: as for ``begin``.

    ``seeds``: of each row's draws, by default 0, 1, 2, ... A row's texts depend on its prompt, memory and seed alone.
    """
    if not prompts:
        return []
    with evaluating(decoder, head):
        started = begin(decoder, head, prompts, decoding, **settings)
        if isinstance(decoding, Beam):
            return decoding.search(*started)
        if not isinstance(decoding, Sampler):
            raise ValueError(f"a {type(decoding).__name__} cannot write: choose a Sampler or a Beam")
        found: list[list[Hypothesis]] = [[] for _ in prompts]
        for step in decoding.steps(*started, seeds or range(len(prompts))):
            for origin, _, text in step:
                if text is not None:
                    found[origin].append(text)
        return found


@torch.inference_mode()
def stream(
    decoder: DecoderBackbone,
    head: nn.Module,
    prompts: Prompts,
    *,
    sampler: Sampler | None = None,
    seed: int | Sequence[int] = 0,
    **settings: Any,
) -> Iterator[list[int | None]]:
    """Yields one token id a row at a time; None for rows that have ended. The end token is not yielded.

    ``sampler`` None = greedy. ``seed``: of each row, or one number s for rows s, s + 1, ... ``settings``: as for
    ``begin``.
    """
    seeds = range(seed, seed + len(prompts)) if isinstance(seed, int) else seed
    sampler = sampler or Greedy()
    with evaluating(decoder, head):
        for step in sampler.steps(*begin(decoder, head, prompts, sampler, **settings), seeds):
            tokens: list[int | None] = [None] * len(prompts)
            for origin, token, _ in step:
                tokens[origin] = token
            if any(token is not None for token in tokens):
                yield tokens


@torch.inference_mode()
def drawing(
    decoder: DecoderBackbone,
    head: nn.Module,
    prompts: Prompts,
    *,
    sampler: Sampler,
    seeds: Sequence[int],
    keys: Sequence[Any],
    **settings: Any,
) -> Drawing:
    """The texts of ``stream`` as what others can join, by their ``keys``. The model should be in evaluation mode."""
    return Drawing(sampler, *begin(decoder, head, prompts, sampler, **settings), seeds, keys)


class Spelling:
    """The text of tokens that come one by one, in pieces as they become certain: none ends within a character of several bytes.

    ``spell``: the text of tokens. ``written``: those before, whose text is not told; what comes is appended to it. Only what
    came since the last piece but one is spelled again, so the time of a token does not grow with the text.
    """

    def __init__(self, spell: Callable[[Sequence[int]], str], written: list[int]) -> None:
        self.spell, self.written = spell, written
        self._begin, self._told = 0, len(written)  # of the last piece, and where what is not told begins
        self._shown = spell(written)  # the text from one to the other

    def add(self, token: int) -> str:
        """What is certain since the last time, which may be nothing."""
        self.written.append(token)
        text, end = self.spell(self.written[self._begin :]), len(self.written)
        if text.endswith("\ufffd"):  # within a character, or of bytes that are none
            end = max(self._told, end - BYTES)
        certain = self.spell(self.written[self._begin : end])
        piece = certain[len(self._shown) :]
        if not (piece and text.startswith(certain)):
            return ""
        self._begin, self._told = self._told, end
        self._shown = self.spell(self.written[self._begin : end])
        return piece

    def rest(self) -> str:
        """What was not told: the text ended within a character."""
        return self.spell(self.written[self._begin :])[len(self._shown) :]


def spelled(tokens: Iterable[list[int | None]], spelling: Spelling) -> Iterator[str]:
    """The text of a ``stream`` of one row, in the pieces of ``spelling``."""
    for (token,) in tokens:
        assert token is not None  # the stream ends with its only row
        yield spelling.add(token)
    if piece := spelling.rest():
        yield piece


def begin(
    decoder: DecoderBackbone,
    head: nn.Module,
    prompts: Prompts,
    decoding: Decoding,
    *,
    eos_id: int | None = None,
    forbidden_ids: Sequence[int] = (),
    memory: Tensor | None = None,
    memory_mask: Tensor | None = None,
    copy: Copy | None = None,
    min_lengths: Sequence[int] | None = None,
    max_lengths: Sequence[int] | None = None,
    max_new_tokens: int | None = None,
    begun: int = 0,
) -> tuple[Rows, Rules, list[int]]:
    """The rows, what may be written in them, and how many new tokens each has at most.

    ``prompts``: token ids of any length, at least one each; what must stand at the beginning of a text is part of them,
    and their last ``begun`` tokens count as written where repetitions are avoided. A text ends at ``eos_id``;
    ``forbidden_ids`` are never written. ``memory`` (B, S, D), ``memory_mask`` (B, S): for decoders with
    cross-attention; ``copy``: what a pointer makes of the logits. ``min_lengths``, ``max_lengths``: new tokens of each
    row, where they are tighter than ``decoding``'s. ``max_new_tokens``: instead of ``decoding``'s. Raises UserError for
    a prompt without tokens.
    """
    longest, shortest = max_new_tokens or decoding.max_new_tokens, decoding.min_new_tokens
    maximums = [max(1, min(longest, n)) for n in max_lengths or [longest] * len(prompts)]
    minimums = [max(shortest, n) for n in min_lengths or [shortest] * len(prompts)]
    rows = Rows(decoder, head, prompts, max(maximums), memory, memory_mask, copy)
    rules = Rules(decoding, minimums, -1 if eos_id is None else eos_id, forbidden_ids, rows.device, begun)
    return rows, rules, maximums
