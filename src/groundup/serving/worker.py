"""One thread for the models: rows that wait together are answered together, texts are written a token at a time between.

Torch computes without Python's lock, so requests are read and answered meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from groundup.data.roles import Row
from groundup.decoding.sampling import Sampler
from groundup.serving.counts import Counts
from groundup.serving.request_error import RequestError
from groundup.serving.writing import Together, Tokens, Writing, tell
from groundup.stages.answering import Answering
from groundup.stages.network import NetworkRun

log = logging.getLogger(__name__)
AHEAD = 4  # batches whose rows are sorted by length together


@dataclass(eq=False)
class Job:
    """Rows of a request, for one run."""

    run: Answering | Call
    rows: Sequence[Row]
    answer: asyncio.Future
    since: float = field(default_factory=time.monotonic)

    @property
    def size(self) -> int:
        return len(self.rows)


class Call:
    """Other work for the thread of the models, as a row that is answered with what ``call`` returns."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call

    def answer(self, *_: Any) -> Iterator[Any]:
        yield self.call()


class Worker:
    """Answers rows by runs, ``batch_size`` together at most, in a thread of its own from ``start`` to ``close``.

    ``wait``: seconds that a row waits for others while nothing else is to be done; ``queue``: rows that wait at most;
    ``seconds``: until an answer must be there.
    """

    def __init__(
        self, batch_size: int, wait: float, queue: int, seconds: float, counts: Counts, accelerator: str, seed: int
    ) -> None:
        self.batch_size, self.wait, self.queue, self.seconds = batch_size, wait, queue, seconds
        self.counts, self.accelerator, self.seed = counts, accelerator, seed
        self._jobs, self._writings = deque[Job](), deque[Writing]()
        self._together: list[Together] = []
        self._work = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="models", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Ends the thread once all that was accepted is done."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._thread.join()

    # Called from the event loop

    async def run(self, call: Callable[[], Any]) -> Any:
        """What ``call`` returns, in the thread of the models. Raises what it raises, and as ``answers`` does."""
        (found,) = await self.answers(Call(call), [{}])
        return found

    async def answers(self, run: Answering | Call, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """Answers of ``run`` to a request's rows, as ``predict`` has them for a file of these rows.

        Raises RequestError where too many wait, or where no answer is there in time.
        """
        job = Job(run, rows, asyncio.get_running_loop().create_future())
        self._admit(len(rows))
        try:
            with self._work:
                self._jobs.append(job)
                self._work.notify()
            return await asyncio.wait_for(job.answer, self.seconds)
        except TimeoutError:
            raise RequestError(
                503, f"no answer within {self.seconds:g} seconds: ask again later, or for less"
            ) from None
        finally:
            self.counts.waiting -= len(rows)

    async def written(self, writing: Writing) -> AsyncGenerator[Tokens, None]:
        """Yields the next token of each text of a request, None for those that have ended.

        Raises RequestError where too many wait, or where it has not ended in time.
        """
        rows, until = len(writing.starts), time.monotonic() + self.seconds
        self._admit(rows)
        try:
            with self._work:
                self._writings.append(writing)
                self._work.notify()
            while (tokens := await asyncio.wait_for(writing.told.get(), until - time.monotonic())) is not None:
                if isinstance(tokens, Exception):
                    raise tokens
                self.counts.wrote(sum(token is not None for token in tokens))
                yield tokens
            while True:
                yield [None] * rows
        except TimeoutError:
            why = f"not written within {self.seconds:g} seconds: ask again later, or for less"
            raise RequestError(503, why) from None
        finally:
            writing.over = True
            self.counts.waiting -= rows

    def _admit(self, rows: int) -> None:
        if self.counts.waiting + rows > self.queue and self.counts.waiting:
            raise RequestError(429, f"{self.counts.waiting} rows wait already: ask again later")
        self.counts.waiting += rows

    # In the thread

    def _loop(self) -> None:
        while True:
            with self._work:
                while not (self._jobs or self._writings or self._together or self._closing):
                    self._work.wait()
                if not (self._jobs or self._writings or self._together):
                    return
                self._wait_for_more()
                jobs, writings = self._taken(), self._begun()
            if writings:
                self.counts.together(sum(len(one.starts) for one in writings))
                self._together.append(Together(writings))
            if jobs:
                self._answer(jobs)
            for together in self._together:
                tell(list(together.step()))
            self._together = [one for one in self._together if one.writings]

    def _wait_for_more(self) -> None:
        """Until as many rows are there as are answered together, or the first has waited long enough."""
        while not (self._together or self._closing):
            waiting: list[Job | Writing] = [*self._jobs, *self._writings]
            left = min(one.since for one in waiting) + self.wait - time.monotonic()
            if left <= 0 or sum(one.size for one in waiting) >= self.batch_size:
                return
            self._work.wait(left)

    def _taken(self) -> list[Job]:
        """Jobs of the run that has waited longest, those that are still waited for."""
        taken: list[Job] = []
        rows, kept = 0, deque[Job]()
        while self._jobs:
            job = self._jobs.popleft()
            if job.answer.cancelled():
                continue
            fits = not taken or (
                job.run is taken[0].run and rows + job.size <= AHEAD * self.batch_size and not draws(job.run)
            )
            if fits:
                taken.append(job)
                rows += job.size
            else:
                kept.append(job)
        self._jobs = kept
        return taken

    def _begun(self) -> list[Writing]:
        """Requests whose texts begin now, together: alike, and no more than there is room for beside those on their way."""
        free = self.batch_size - sum(one.rows for one in self._together)
        begun: list[Writing] = []
        kept = deque[Writing]()
        while self._writings:
            one = self._writings.popleft()
            if one.over:
                continue
            alone = not begun and not self._together  # more texts than may be written together are, too, by themselves
            if alone or (one.size <= free and not kept and (not begun or one.is_like(begun[0]))):
                begun.append(one)
                free -= one.size
            else:
                kept.append(one)
        self._writings = kept
        return begun

    def _answer(self, jobs: list[Job]) -> None:
        rows = [row for job in jobs for row in job.rows]
        self.counts.together(len(rows))
        try:
            found = list(jobs[0].run.answer(rows, self.batch_size, self.accelerator, self.seed))
        except Exception as error:
            if len(jobs) > 1:  # one of them alone is answered with the error
                for job in jobs:
                    self._answer([job])
                return
            if not isinstance(error, RequestError):
                log.exception("a request of %d rows failed", len(rows))
            _deliver([(jobs[0].answer, error)])
            return
        ends = iter(found)
        _deliver([(job.answer, [next(ends) for _ in job.rows]) for job in jobs])


def draws(run: Answering | Call) -> bool:
    """Whether an answer depends on the number of its row, so that requests cannot be joined."""
    decoding = getattr(run.task, "decoding", None) if isinstance(run, NetworkRun) else None
    return isinstance(decoding, Sampler) and decoding.temperature > 0


def _deliver(answers: Sequence[tuple[asyncio.Future, Any]]) -> None:
    def tell() -> None:
        for future, answer in answers:
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    if not (loop := answers[0][0].get_loop()).is_closed():
        loop.call_soon_threadsafe(tell)
