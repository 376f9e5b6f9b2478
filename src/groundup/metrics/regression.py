"""Metrics of predicted numbers with intervals, for our models and for the baselines, and what the report shows of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np

from groundup.metrics.estimate import LOSS, Estimate, Metric, labelled
from groundup.metrics.intervals import RESAMPLES, as_array, bootstrap
from groundup.metrics.paired import Judged, Statistic
from groundup.metrics.sections import Cell, Content, Scatter, Section, Table

PEARSON = Metric("pearson", "max", "Pearson r", "table", also=("r", "pearsonr", "pearson_r", "correlation"))
SPEARMAN = Metric("spearman", "max", "Spearman rho", "table", also=("rho", "spearmanr", "spearman_rho"))
MAE = Metric("mae", "min", "MAE", "table", also=("mean_absolute_error", "l1"))
MSE = Metric("mse", "min", "MSE", "list", also=("mean_squared_error", "l2"))
REGRESSION = (PEARSON, SPEARMAN, MAE, MSE, LOSS)

_CONSTANT = 1e-13  # of their mean: numbers that differ by less are one number that was rounded, as scipy warns
_ROUNDED = 1e-9  # of the largest distance from the mean: a resample that varies by less drew one number again and again
_RANGES = 5  # of gold scores whose errors are told apart
_DOTS = 1500  # more cannot be told apart in a picture
_WORST = (12, 40)  # rows shown at once, and with those folded away


def regression_metrics(gold, predicted, losses=None, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """Pearson and Spearman correlation, mean absolute and mean squared error; and the mean of ``losses``, if given.

    Args:
        gold, predicted: (N,) arrays or tensors, in the unit of the data.
        losses: (N,) of what was trained on.

    The correlations are those of scipy, ties ranked by their mean; 0 where one side does not vary, which orders nothing.
    Intervals are by the bootstrap over rows. Raises ValueError: shapes that do not fit, or no rows.
    """
    gold, predicted = as_array(gold), as_array(predicted)
    if gold.ndim != 1 or gold.shape != predicted.shape or len(gold) == 0:
        raise ValueError(f"gold and predicted (N,) with N > 0, not {gold.shape} and {predicted.shape}")
    n, finite = len(gold), bool(np.isfinite(predicted - gold).all())
    statistics = _statistics(gold, predicted)
    if losses is not None:
        statistics[LOSS] = partial(_mean, as_array(losses))
    found = {metric: bootstrap(one, n, seed, resamples, columns=8) for metric, one in statistics.items()}
    return labelled(
        {metric: replace(one, value=0.0) if math.isnan(one.value) and finite else one for metric, one in found.items()}
    )


def judge_scores(rows: Sequence[Mapping]) -> Judged:
    """Correlations and errors of prediction rows; each by its absolute error.

    Args:
        rows: as in ``predictions.jsonl``, with ``score`` and ``predicted``.
    """
    gold, predicted = (np.array([row[name] for row in rows], dtype=float) for name in ("score", "predicted"))
    return Judged(-np.abs(predicted - gold), _statistics(gold, predicted))


def _statistics(gold: np.ndarray, predicted: np.ndarray) -> dict[Metric, Statistic]:
    one, other = (np.zeros(len(side)) if _constant(side) else side for side in (gold, predicted))
    error = predicted - gold
    return {
        PEARSON: partial(_correlation, one, other),
        SPEARMAN: partial(_rank_correlation, _Ranks(one), _Ranks(other)),
        MAE: partial(_mean, np.abs(error)),
        MSE: partial(_mean, error**2),
    }


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return values @ weights / weights.sum(axis=0)


def _constant(values: np.ndarray) -> bool:
    """Whether all are one number, but for rounding."""
    middle = values.mean()
    return bool(np.abs(values - middle).max() <= _CONSTANT * abs(middle))


def _correlation(one: np.ndarray, other: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Pearson's r of rows (N,), or of rows that differ between resamples (N, R), with weights (N, R): (R,).

    NaN where one side does not vary.
    """
    sides = []
    for values in (one, other):
        values = values if values.ndim == 2 else values[:, None]
        apart = values - values.mean(axis=0)
        reach = np.abs(apart).max(axis=0)
        apart = apart - (apart * weights).sum(axis=0) / weights.sum(axis=0)
        spread = np.sqrt((weights * apart**2).sum(axis=0))
        sides.append(apart / np.where(spread > _ROUNDED * reach, spread, np.nan))
    return np.clip((weights * sides[0] * sides[1]).sum(axis=0), -1, 1)


class _Ranks:
    """Mean ranks of values (N,) for many row weights at once: values are sorted once for all resamples."""

    def __init__(self, values: np.ndarray) -> None:
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        first = np.concatenate([[True], ordered[1:] != ordered[:-1]])  # of those that are equal
        self.starts = np.flatnonzero(first)
        self.group = np.empty(len(values), dtype=np.int64)
        self.group[self.order] = np.cumsum(first) - 1

    def of(self, weights: np.ndarray) -> np.ndarray:
        """Weights (N, R) -> (N, R): of each row the mean rank of its value among the drawn rows."""
        sizes = np.add.reduceat(weights[self.order].astype(np.float64), self.starts, axis=0)
        return (np.cumsum(sizes, axis=0) - (sizes - 1) / 2)[self.group]


def _rank_correlation(one: _Ranks, other: _Ranks, weights: np.ndarray) -> np.ndarray:
    return _correlation(one.of(weights), other.of(weights), weights)


def regression_sections(rows: Sequence[Mapping]) -> list[Section]:
    """Predicted against gold scores, the error by the range of the gold score, and the largest mistakes.

    Args:
        rows: as in ``predictions.jsonl``, with ``score`` and ``predicted``, ``text`` and maybe ``text_pair``.
    """
    if not rows:
        return []
    gold, predicted = (np.array([row[name] for row in rows], dtype=float) for name in ("score", "predicted"))
    step = math.ceil(len(rows) / _DOTS)
    points = [(float(x), float(y)) for x, y in zip(gold[::step], predicted[::step], strict=True)]
    note = f" Every {step}th row." if step > 1 else ""
    picture = Section(
        "Predicted and true scores", f"On the line both are equal.{note}", [Scatter("true", "predicted", points)]
    )
    worst = sorted(range(len(rows)), key=lambda row: -abs(predicted[row] - gold[row]))[: _WORST[1]]
    lines: list[list[Cell | str]] = []
    for place in worst:
        row = rows[place]
        text = Cell(row.get("text", ""), below=[row["text_pair"]] if row.get("text_pair") else [])
        lines.append([text, *map(_shown, (gold[place], predicted[place], predicted[place] - gold[place]))])
    columns: dict[str, Content] = {"text": "text", "true": "number", "predicted": "number", "difference": "number"}
    return [
        picture,
        _by_range(gold, predicted),
        Section("Largest mistakes", "", [Table(columns, lines, folded=_WORST[0])]),
    ]


def _by_range(gold: np.ndarray, predicted: np.ndarray) -> Section:
    edges = np.linspace(gold.min(), gold.max(), _RANGES + 1)
    places = np.clip(np.searchsorted(edges, gold, side="right") - 1, 0, _RANGES - 1)
    lines = []
    for place, (low, high) in enumerate(pairwise(edges)):
        here = places == place
        if here.any():
            error = predicted[here] - gold[here]
            figures = (gold[here].mean(), predicted[here].mean(), np.abs(error).mean())
            lines.append([f"{_shown(low)} to {_shown(high)}", *map(_shown, figures), f"{here.sum():,}"])
    columns: dict[str, Content] = {"true score": "word", "mean true": "number", "mean predicted": "number"}
    columns |= {"MAE": "number", "rows": "number"}
    return Section("Error by the true score", "", [Table(columns, lines)])


def _shown(value: float) -> str:
    return f"{value:.2f}" if 0.01 <= abs(value) < 1e6 or value == 0 else f"{value:.3g}"
