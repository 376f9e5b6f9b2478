"""Texts that a request asks for, and those of several requests on their way together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch

from groundup.decoding.sampling import Drawing, Sampler
from groundup.tasks.causal_lm import CausalLM

log = logging.getLogger(__name__)
MOST = 1 << 20  # tokens of texts that are written together, as rows of one length, which memory must hold
Tokens = list[int | None]  # the next of each text; None: it has ended


@dataclass(eq=False)
class Writing:
    """Texts of a request: what each comes after, its seed, and the new tokens of the longest."""

    task: CausalLM
    way: Sampler
    starts: Sequence[Sequence[int]]
    seeds: Sequence[int]
    longest: int
    told: asyncio.Queue[Tokens | Exception | None] = field(default_factory=asyncio.Queue)
    over: bool = False  # nobody waits for more
    since: float = field(default_factory=time.monotonic)
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    @property
    def size(self) -> int:
        return len(self.starts)

    @property
    def width(self) -> int:
        """Tokens of its longest text at most."""
        return max(map(len, self.starts)) + self.longest

    def is_like(self, other: Writing) -> bool:
        """Whether both are written by one model in one way."""
        return self.task is other.task and vars(self.way) == vars(other.way)


def fit_together(writings: Iterable[Writing]) -> bool:
    """Whether they can be written together: they are alike, and padding them to one length is no waste of memory."""
    first, *others = writings
    size, width = sum(one.size for one in (first, *others)), max(one.width for one in (first, *others))
    return not others or (all(one.is_like(first) for one in others) and size * width <= MOST)


Told = Sequence[tuple[Writing, Tokens | Exception | None]]  # what each request is told


class Together:
    """Texts of requests that are alike, one token of each at a time; others join them between two tokens."""

    def __init__(self, writings: Sequence[Writing], device: torch.device) -> None:
        self.writings, self.device = list(writings), device
        self._drawing: Drawing | None = None

    @property
    def rows(self) -> int:
        """Texts that are not over."""
        return sum(one.size for one in self.writings) if self._drawing is None else len(self._drawing.open)

    def step(self) -> Told:
        """What each request is to be told of one more token of each text; None: they are all over."""
        try:
            return self._step()
        except Exception as error:
            return self._failed(error)

    def _step(self) -> Told:
        # Looked up once: a request may be over at any time, as its client leaves.
        tokens: dict[Writing, Tokens] = {one: [None] * one.size for one in self.writings if not one.over}
        if not tokens:
            self.writings, self._drawing = [], None
            return []
        drawing = self._drawing = self._drawing or self._begun()
        drawing.keep([place for place, one in enumerate(drawing.open) if one.key[0] in tokens])
        for (one, place), token, _ in drawing.step():
            tokens[one][place] = token
        left = {one.key[0] for one in drawing.open}
        self.writings = [one for one in tokens if one in left]
        return [*tokens.items(), *((one, None) for one in tokens if one not in left)]

    def join(self, other: Together) -> Told:
        """Takes over the texts of ``other``, which are alike; both have made a step. Told is what went wrong."""
        assert self._drawing is not None and other._drawing is not None
        try:
            self._drawing.join(other._drawing)
        except Exception as error:
            return [*self._failed(error), *other._failed(error)]
        self.writings += other.writings
        return []

    def _begun(self) -> Drawing:
        first, texts = self.writings[0], [(one, place) for one in self.writings for place in range(one.size)]
        first.task.to(self.device)
        return first.task.drawing(
            [one.starts[place] for one, place in texts],
            first.way,
            [one.seeds[place] for one, place in texts],
            [one.longest for one, _ in texts],
            texts,
        )

    def _failed(self, error: Exception) -> Told:
        log.exception("a text failed")
        failed, self.writings, self._drawing = self.writings, [], None
        return [(one, error) for one in failed]


def tell(told: Told) -> None:
    """Puts it where each request waits for it; called from the thread of the models."""

    def put() -> None:
        for writing, tokens in told:
            writing.told.put_nowait(tokens)

    if told and not (loop := told[0][0].loop).is_closed():
        loop.call_soon_threadsafe(put)
