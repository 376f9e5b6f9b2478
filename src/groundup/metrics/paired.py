"""Whether two systems differ on the same rows: intervals by the paired bootstrap, p values by swapping answers.

A task tells what its prediction rows are worth once, as functions of row weights (``Judged``). Resampled rows are weights,
and so are rows whose answers change sides: no metric is written a second time for a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from groundup.metrics.estimate import Estimate, Metric
from groundup.metrics.intervals import RESAMPLES, bootstrap

Statistic = Callable[[np.ndarray], np.ndarray]  # row weights (N, R) -> values (R,)
ROUNDS = 2000  # of swapping; a p value is no smaller than 1 / (rounds + 1)
_FEWEST = 500
_CELLS = 40_000_000  # rows x rounds that one p value may cost
_ALL = 12  # rows up to which all ways to swap their answers are tried, 4,096 of them
_EQUAL = 1e-9  # differences of sums in another order


@dataclass(frozen=True)
class Judged:
    """What prediction rows are worth.

    Args:
        quality: (N,) of each row by itself, the higher the better; 1 or 0 where a row is right or wrong.
        statistics: metric -> its value for weighted rows; rows of weight 0 are as if they were not there.
    """

    quality: np.ndarray
    statistics: Mapping[Metric, Statistic] = field(default_factory=dict)


Part = tuple[slice, Judged]  # which of the compared rows a run has answered, and what its answers are worth


def difference(
    ours: Sequence[Part], theirs: Sequence[Part], metric: Metric, rows: int, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The mean of ``metric`` over our runs minus that over theirs, with the interval of the paired bootstrap over rows.

    Both sides, and all their runs, see the same resampled rows, so what makes a row hard for both cancels out. The
    interval is that of these runs on other rows; how runs of other seeds would differ, it does not say.
    Source: Berg-Kirkpatrick et al. 2012, "An empirical investigation of statistical significance in NLP".

    Args:
        rows: N, of all parts together.
    """
    runs = len(ours) + len(theirs)
    found = bootstrap(lambda w: _mean(ours, metric, w) - _mean(theirs, metric, w), rows, seed, resamples, columns=runs)
    return replace(found, metric=metric)


def _mean(parts: Sequence[Part], metric: Metric, weights: np.ndarray) -> np.ndarray:
    return np.mean([judged.statistics[metric](weights[place]) for place, judged in parts], axis=0)


def swapped_p(pairs: Sequence[Part], metric: Metric, rows: int, seed: int = 0, rounds: int = ROUNDS) -> float:
    """Two-sided p value: how often systems that answer alike would differ at least as much (approximate randomisation).

    If they do not differ, each row's two answers might as well have changed sides. All 2^N ways are tried where those are
    few, else ``rounds`` random ones. Source: Noreen 1989, "Computer-intensive methods for testing hypotheses".

    Args:
        pairs: each judges the n rows of its place twice: our answers, then theirs, (2n,).
        rows: N, of all places together.
    """

    def distance(swap: np.ndarray) -> np.ndarray:
        """(N, R) 0 or 1 -> |difference| (R,)."""
        gaps = []
        for place, judged in pairs:
            moved = swap[place]
            sides = np.concatenate([1 - moved, moved]), np.concatenate([moved, 1 - moved])
            gaps.append(np.subtract(*(judged.statistics[metric](side) for side in sides)))
        return np.abs(np.mean(gaps, axis=0))

    seen = distance(np.zeros((rows, 1), dtype=np.float32))[0]
    if np.isnan(seen):
        return float("nan")
    reached, tried = 0, 0
    for swap in _swaps(rows, seed, rounds):
        reached += int((distance(swap) >= seen - _EQUAL).sum())
        tried += swap.shape[1]
    one = 0 if rows <= _ALL else 1  # the way that was seen is among all ways, not among random ones
    return (reached + one) / (tried + one)


def _swaps(rows: int, seed: int, rounds: int) -> Iterator[np.ndarray]:
    """(N, r) 0 or 1: which rows' answers change sides; the chunks' r add up to the number of ways."""
    if rows <= _ALL:
        yield (np.arange(2**rows) >> np.arange(rows)[:, None] & 1).astype(np.float32)
        return
    generator = np.random.default_rng(seed)
    rounds = int(min(rounds, max(_FEWEST, _CELLS / rows)))
    chunk = max(1, min(rounds, 2_000_000 // rows))
    for start in range(0, rounds, chunk):
        yield generator.integers(0, 2, (rows, min(chunk, rounds - start)), dtype=np.int8).astype(np.float32)


def mcnemar(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Exact two-sided p value of McNemar's test; both (N,) 1 where a row is right, else 0.

    Of the rows that one alone has right, each is as likely to be either's if they do not differ (a binomial test).
    Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions".
    """
    from scipy.stats import binomtest

    alone = int(((ours == 1) & (theirs == 0)).sum()), int(((ours == 0) & (theirs == 1)).sum())
    return float(binomtest(alone[0], sum(alone)).pvalue) if sum(alone) else 1.0
