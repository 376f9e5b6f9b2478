"""One system against another on the same rows: differences with tests, and the rows on which one is better."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from groundup.metrics.paired import Judged, Part, difference, mcnemar, swapped_p
from groundup.report.comparison import Duel
from groundup.runs.systems import Answered, Answers
from groundup.system.files import damaged
from groundup.tasks.base import Task

SHOWN = 40  # rows of each kind that are kept as examples


def duel(
    task: type[Task], ours: Sequence[Answered], theirs: Sequence[Answered], rows: int, without: Collection[str] = ()
) -> Duel:
    """``ours`` against ``theirs``: the answers of the runs of two systems to the same ``rows`` rows.

    ``without``: names of figures that they cannot be compared in.

    Raises UserError for predictions that are not of ``task``.
    """
    mine, other = ([(one.place, judge(task, one, one.rows)) for one in side] for side in (ours, theirs))
    both = paired(task, ours, theirs)
    statistics = [one.statistics for _, one in (*mine, *other)]
    duel = Duel()
    for metric in statistics[-1]:
        if metric.name not in without and all(metric in known for known in statistics):
            p = swapped_p(both, metric, rows) if both else None
            duel.differences[metric.name] = difference(mine, other, metric, rows), p
    quality = [_quality(side, rows) for side in (mine, other)]
    gap = quality[0] - quality[1]
    duel.better, duel.worse, duel.same = int((gap > 0).sum()), int((gap < 0).sum()), int((gap == 0).sum())
    if len(ours) == len(theirs) == 1:
        if all(np.isin(one, (0, 1)).all() for one in quality):
            duel.mcnemar = mcnemar(*quality)
        duel.examples = [
            _most_telling(gap, theirs[0].rows, ours[0].rows),
            _most_telling(-gap, ours[0].rows, theirs[0].rows),
        ]
    return duel


def judge(task: type[Task], answered: Answered, rows: Answers) -> Judged:
    try:
        judged = task.judge(rows)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(answered.run.predictions, f"{type(error).__name__} {error}") from None
    return judged or Judged(np.zeros(len(rows)))


def paired(task: type[Task], ours: Sequence[Answered], theirs: Sequence[Answered]) -> list[Part]:
    """Runs of both sides that have answered the same rows as pairs; empty where one side has more of them."""
    sides = [sorted(side, key=lambda one: one.place.start) for side in (ours, theirs)]
    if [one.place for one in sides[0]] != [one.place for one in sides[1]]:
        return []
    return [(one.place, judge(task, one, [*one.rows, *other.rows])) for one, other in zip(*sides, strict=True)]


def _quality(side: Sequence[Part], rows: int) -> np.ndarray:
    """Mean quality of each row (rows,) over the runs that have answered it."""
    total, count = np.zeros(rows), np.zeros(rows)
    for place, judged in side:
        total[place] += judged.quality
        count[place] += 1
    return total / np.maximum(count, 1)


def _most_telling(gap: np.ndarray, losers: Answers, winners: Answers) -> list[tuple[dict, dict]]:
    """(loser's row, winner's row) where ``gap`` (N,) is above 0: the widest gap first, then the surest mistake."""
    places = [int(place) for place in np.flatnonzero(gap > 0)]
    places.sort(key=lambda place: (-gap[place], -(losers[place].get("probability") or 0)))
    return [(losers[place], winners[place]) for place in places[:SHOWN]]
