"""Texts that a request asks for, and those of several requests on their way together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from groundup.decoding.sampling import Sampler
from groundup.tasks.causal_lm import CausalLM

log = logging.getLogger(__name__)
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

    def is_like(self, other: Writing) -> bool:
        """Whether both can be written together."""
        return self.task is other.task and vars(self.way) == vars(other.way)


class Together:
    """Texts that are written together, one token of each at a time."""

    def __init__(self, writings: Sequence[Writing]) -> None:
        self.writings = writings
        first = writings[0]
        self._steps = first.task.stream(
            [start for one in writings for start in one.starts],
            first.way,
            [seed for one in writings for seed in one.seeds],
            [one.longest for one in writings for _ in one.starts],
        )

    @property
    def rows(self) -> int:
        return sum(len(one.starts) for one in self.writings)

    def step(self) -> Iterator[tuple[Writing, Tokens | Exception | None]]:
        """What each request is to be told of one more token of each text; None: they are all over."""
        waiting = [one for one in self.writings if not one.over]
        step: Tokens | Exception | None = None
        if waiting:
            try:
                step = next(self._steps, None)
            except Exception as error:
                log.exception("a text failed")
                step = error
        if step is None or isinstance(step, Exception):
            self.writings, self._steps = (), iter(())
            yield from ((one, step) for one in waiting)
            return
        begin = 0
        for one in self.writings:
            yield one, step[begin : begin + len(one.starts)]
            begin += len(one.starts)


def tell(told: Sequence[tuple[Writing, Tokens | Exception | None]]) -> None:
    """Puts it where each request waits for it; called from the thread of the models."""

    def put() -> None:
        for writing, tokens in told:
            writing.told.put_nowait(tokens)

    if told and not (loop := told[0][0].loop).is_closed():
        loop.call_soon_threadsafe(put)
