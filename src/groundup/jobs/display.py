"""How far a sweep is, in one line for all of its jobs: a bar at the foot of a terminal, a line a job elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from groundup.jobs.sweep import Ranking, Row, figure, read_job
from groundup.jobs.sweep_plan import FINISHED, Plan

log = logging.getLogger(__name__)


class Display:
    """Told of each job that begins and ends; says what is done, running and failed, the best so far, and the time left.

    Args:
        numbers: the jobs to run now; the others of the plan are done already.
        at_once: so many of them run side by side.
        bar: draw one where there is a terminal. Jobs that share it draw their own.
    """

    def __init__(self, plan: Plan, numbers: Sequence[int], at_once: int = 1, bar: bool = False) -> None:
        self.plan, self.numbers, self.at_once = plan, list(numbers), at_once
        self.clock = time.monotonic
        self.ranking = Ranking()
        self.rows: dict[int, Row] = {}  # of jobs that have ended
        self.begun: dict[int, float] = {}  # running jobs -> when they began
        self.seconds: list[float] = []  # of each job that ended now
        for number in plan.jobs.keys() - set(numbers):
            self._read(number)
        words = [set(job.overrides) for job in plan.jobs.values()]
        self._shared = set.intersection(*words)
        self._bar: Any = None
        if bar and sys.stdout.isatty():
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(BarColumn(bar_width=10), TextColumn("{task.description}"), refresh_per_second=4)
            self._task = self._bar.add_task("", total=len(plan.jobs), completed=len(self.rows))

    def __enter__(self) -> Display:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, number: int) -> None:
        self.begun[number] = self.clock()
        if self._bar is None:
            log.info("job %d%s begins: %s", number, self._about(number), self.line())
        self.refresh()

    def end(self, number: int) -> None:
        seconds = self.clock() - self.begun.pop(number)
        self.seconds.append(seconds)
        row = self._read(number)
        value = row.metrics.get(self.ranking.monitor or "")
        found = "" if value is None else f", {self.ranking.monitor} {figure(value)}"
        if row.state != "waiting":  # a job without a folder, or one that was stopped before it began
            log.info("job %d%s %s in %s%s", number, self._about(number), row.state, span(seconds), found)
        self.refresh()

    def refresh(self) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=len(self.rows), description=self.line())

    def line(self) -> str:
        """``3 of 20 done, 1 failed, 2 running; best validation/loss 0.31 (job 2); 0:04:10 left``."""
        states = [row.state for row in self.rows.values()]
        done = sum(state in FINISHED for state in states)
        counts = {"failed": len(states) - done, "running": len(self.begun)}
        parts = [f"{done} of {len(self.plan.jobs)} done", *(f"{n} {word}" for word, n in counts.items() if n)]
        return "; ".join(filter(None, [", ".join(parts), self._best(), self._left()]))

    def _about(self, number: int) -> str:
        """What tells this job from the others: (seed=2)."""
        own = [word for word in self.plan.jobs[number].overrides if word not in self._shared]
        return f" ({' '.join(own)})" if own else ""

    def _best(self) -> str:
        monitor = self.ranking.monitor or ""
        known = [row for row in self.rows.values() if monitor in row.metrics]
        if not known:
            return ""
        best = min(known, key=lambda row: self.ranking.key(row.metrics[monitor]))
        return f"best {monitor} {figure(best.metrics[monitor])} (job {best.number})"

    def _left(self) -> str:
        """By the mean of the jobs that have ended."""
        if not self.seconds:
            return ""
        now, mean = self.clock(), sum(self.seconds) / len(self.seconds)
        to_come = len(self.numbers) - len(self.seconds) - len(self.begun)
        running = sum(max(mean - (now - begun), 0) for begun in self.begun.values())
        return f"{span((to_come * mean + running) / self.at_once)} left"

    def _read(self, number: int) -> Row:
        self.rows[number], self.ranking = read_job(self.plan, number, self.ranking)
        return self.rows[number]


def span(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))
