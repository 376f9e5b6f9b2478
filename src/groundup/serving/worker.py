"""One thread for the models: rows that wait together are answered together, texts are written a token at a time between.

Torch computes without Python's lock, so requests are read and answered meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from groundup.data.roles import Row
from groundup.decoding.sampling import Sampler
from groundup.serving.counts import Counts
from groundup.serving.request_error import RequestError
from groundup.stages.answering import Answering
from groundup.stages.network import NetworkRun

log = logging.getLogger(__name__)
AHEAD = 4  # batches whose rows are sorted by length together


@dataclass(eq=False)
class Job:
    """Rows of a request, for one run."""

    run: Answering
    rows: Sequence[Row]
    answer: asyncio.Future
    since: float = field(default_factory=time.monotonic)


@dataclass(eq=False)
class Stream:
    """Work in steps: each step's value is told, then ``None`` when there is no more, or the error that ended it."""

    steps: Iterator[Any]
    tell: Callable[[Any], object]
    rows: int
    over: bool = False  # nobody listens any more


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
        self._jobs: deque[Job] = deque()
        self._streams: list[Stream] = []
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

    async def answers(self, run: Answering, rows: Sequence[Row]) -> list[dict[str, Any]]:
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

    async def values(self, steps: Iterator[Any], rows: int) -> AsyncIterator[Any]:
        """Yields what ``steps`` yields, each step in the thread of the models. ``rows``: what it counts for in the queue.

        Raises RequestError where too many wait, or where it has not ended in time; else what the steps raise.
        """
        loop, told = asyncio.get_running_loop(), asyncio.Queue[Any]()
        self._admit(rows)
        stream = Stream(steps, lambda value: loop.call_soon_threadsafe(told.put_nowait, value), rows)
        until = time.monotonic() + self.seconds
        try:
            with self._work:
                self._streams.append(stream)
                self._work.notify()
            while (value := await asyncio.wait_for(told.get(), until - time.monotonic())) is not None:
                if isinstance(value, BaseException):
                    raise value
                yield value
        except TimeoutError:
            raise RequestError(
                503, f"not written within {self.seconds:g} seconds: ask again later, or for less"
            ) from None
        finally:
            stream.over = True
            self.counts.waiting -= rows

    def _admit(self, rows: int) -> None:
        if self.counts.waiting + rows > self.queue and self.counts.waiting:
            raise RequestError(429, f"{self.counts.waiting} rows wait already: ask again later")
        self.counts.waiting += rows

    # In the thread

    def _loop(self) -> None:
        while True:
            with self._work:
                while not (self._jobs or self._streams or self._closing):
                    self._work.wait()
                if not (self._jobs or self._streams):
                    return
                jobs = self._taken()
            if jobs:
                self._answer(jobs)
            for stream in [*self._streams]:
                if self._step(stream):
                    with self._work:
                        self._streams.remove(stream)

    def _taken(self) -> list[Job]:
        """Jobs of the run that has waited longest, those that are still waited for; after a moment in which more may come."""
        while self._jobs and not (self._streams or self._closing):
            first = self._jobs[0]
            left = first.since + self.wait - time.monotonic()
            if left <= 0 or sum(len(job.rows) for job in self._jobs if job.run is first.run) >= self.batch_size:
                break
            self._work.wait(left)
        taken: list[Job] = []
        rows, kept = 0, deque[Job]()
        while self._jobs:
            job = self._jobs.popleft()
            if job.answer.cancelled():
                continue
            fits = not taken or (
                job.run is taken[0].run and rows + len(job.rows) <= AHEAD * self.batch_size and not draws(job.run)
            )
            if fits:
                taken.append(job)
                rows += len(job.rows)
            else:
                kept.append(job)
        self._jobs = kept
        return taken

    def _answer(self, jobs: list[Job]) -> None:
        rows = [row for job in jobs for row in job.rows]
        self.counts.batches.add(len(rows))
        try:
            found = list(jobs[0].run.answer(rows, self.batch_size, self.accelerator, self.seed))
        except Exception as error:
            if len(jobs) > 1:  # one of them alone is answered with the error
                for job in jobs:
                    self._answer([job])
                return
            log.exception("a request of %d rows failed", len(rows))
            _deliver([(jobs[0].answer, error)])
            return
        ends = iter(found)
        _deliver([(job.answer, [next(ends) for _ in job.rows]) for job in jobs])

    def _step(self, stream: Stream) -> bool:
        """Whether that was its last step."""
        if stream.over:
            stream.steps.close()  # type: ignore[attr-defined]  # a generator
            return True
        try:
            value = next(stream.steps)
        except StopIteration:
            stream.tell(None)
        except Exception as error:
            if not isinstance(error, RequestError):
                log.exception("a request failed")
            stream.tell(error)
        else:
            stream.tell(value)
            return False
        return True


def draws(run: Answering) -> bool:
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
