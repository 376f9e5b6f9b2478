"""One thread runs all models: rows that wait together are answered together; between them, texts grow a token at a time.

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
from groundup.serving.writing import Together, Tokens, Writing, fit_together, tell
from groundup.stages.answering import Answering
from groundup.stages.network import NetworkRun, device_of

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

    Requests take turns: of a large one, a batch is answered at a time, and the texts that are written get a token each between.
    ``wait``: seconds that a row waits for others while nothing else is to be done; ``queue``: rows that wait at most;
    ``seconds``: until an answer must be there.
    """

    def __init__(
        self, batch_size: int, wait: float, queue: int, seconds: float, counts: Counts, accelerator: str, seed: int
    ) -> None:
        self.batch_size, self.wait, self.queue, self.seconds = batch_size, wait, queue, seconds
        self.counts, self.accelerator, self.seed = counts, accelerator, seed
        self._device = device_of(accelerator)
        self._jobs, self._writings = deque[Job](), deque[Writing]()
        self._turns: list[Iterator[None]] = []  # answers that are not all there
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
        rows, until = writing.size, time.monotonic() + self.seconds
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
                while not (self._jobs or self._writings or self._busy or self._closing):
                    self._work.wait()
                if not (self._jobs or self._writings or self._busy):
                    return
                self._wait_for_more()
                jobs, writings = self._taken(), self._begun()
            if jobs:
                self._turns.append(self._answer(jobs))
            self._turns = [turn for turn in self._turns if next(turn, self) is not self]  # which it is at its end
            self._write(writings)

    @property
    def _busy(self) -> bool:
        return bool(self._turns or self._together)

    def _wait_for_more(self) -> None:
        """Until as many rows are there as are answered together, or the first has waited long enough."""
        while not (self._busy or self._closing):
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
            if alone or (one.size <= free and not kept and fit_together([*begun, one])):
                begun.append(one)
                free -= one.size
            else:
                kept.append(one)
        self._writings = kept
        return begun

    def _answer(self, jobs: Sequence[Job]) -> Iterator[None]:
        """Answers jobs of one run, a batch at each turn: of rows that are about as long, which need little padding."""
        run, rows = jobs[0].run, [row for job in jobs for row in job.rows]
        order, size = list(range(len(rows))), len(rows)
        if not draws(run):
            order, size = sorted(order, key=lambda place: sum(map(len, rows[place].values()))), self.batch_size
        found: dict[int, dict[str, Any]] = {}
        try:
            for begin in range(0, len(rows), size):
                if begin:
                    yield
                if all(job.answer.cancelled() for job in jobs):
                    return
                part = order[begin : begin + size]
                self.counts.together(len(part))
                answers = run.answer([rows[place] for place in part], self.batch_size, self.accelerator, self.seed)
                found.update(zip(part, answers, strict=True))
        except Exception as error:
            if len(jobs) > 1:  # one of them alone is answered with the error
                for job in jobs:
                    yield from self._answer([job])
                return
            if not isinstance(error, RequestError):
                log.exception("a request of %d rows failed", len(rows))
            _deliver([(jobs[0].answer, error)])
            return
        ends = iter(range(len(rows)))
        _deliver([(job.answer, [found[next(ends)] for _ in job.rows]) for job in jobs])

    def _write(self, begun: Sequence[Writing]) -> None:
        """A token more of each text, also of those that begin, which then join others that are alike."""
        if begun:
            self.counts.together(sum(one.size for one in begun))
            self._together.append(Together(begun, self._device))
        groups: list[Together] = []
        for one in self._together:
            tell(one.step())
            if not one.writings:
                continue
            like = next((other for other in groups if fit_together([*other.writings, *one.writings])), None)
            if like is None:
                groups.append(one)
            else:
                tell(like.join(one))
                groups = [other for other in groups if other.writings]  # which it has not where joining failed
        self._together = groups


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
