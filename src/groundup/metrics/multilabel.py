"""Metrics of texts that may have several labels, with intervals, and what the report shows of them.

Values are those of scikit-learn, with 0/0 as 0; a label without rows on both sides has no average precision and no AUROC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from groundup.metrics.classification import Ranking
from groundup.metrics.estimate import LOSS, Estimate, Metric, labelled
from groundup.metrics.intervals import RESAMPLES, as_array, bootstrap, wilson
from groundup.metrics.paired import Judged, Statistic
from groundup.metrics.sections import Cell, Content, Section, Table

MICRO_F1 = Metric("micro_f1", "max", "micro F1", "table", also=("f1", "f1_micro"))
MACRO_F1 = Metric("macro_f1", "max", "macro F1", "table", also=("f1_macro",))
SUBSET = Metric("subset_accuracy", "max", "all labels right", "table", also=("accuracy", "exact_match"))
MEAN_PRECISION = Metric("mean_average_precision", "max", "mean average precision", "table", also=("map",))
AUROC = Metric("auroc", "max", "AUROC", "table", also=("auc", "roc_auc"))
PARTS = tuple(Metric(f"micro_{name}", "max", shown="list", also=(name,)) for name in ("precision", "recall"))
MULTILABEL = (MICRO_F1, MACRO_F1, SUBSET, MEAN_PRECISION, AUROC, LOSS, *PARTS)

_TINY = 1e-30  # a probability of exactly 0 for the truth would make the mean infinite
_CELLS = 5_000_000  # rows x labels up to which rankings get an interval
_LABELS, _WRONG = 40, (12, 40)  # that the report shows; of the rows, at once and with those folded away


def multilabel_metrics(
    probabilities, labels, thresholds=0.5, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Micro and macro F1, the share of rows right in all labels, mean average precision, macro AUROC, and loss.

    Args:
        probabilities: (N, C), each of a label by itself.
        labels: (N, C), 1 where the row has the label.
        thresholds: (C,) or a number: from which probability on a label is said.

    The loss is in nats a label. Intervals are by the bootstrap over rows. Raises ValueError: shapes that do not fit, or
    no rows.
    """
    probabilities, truth = as_array(probabilities), as_array(labels, None).astype(bool)
    if probabilities.ndim != 2 or truth.shape != probabilities.shape or len(truth) == 0:
        raise ValueError(f"probabilities and labels (N, C) with N > 0, not {probabilities.shape} and {truth.shape}")
    n, count = truth.shape
    said = probabilities >= as_array(thresholds)
    statistics = _statistics(truth, said)
    surprise = -np.log(np.maximum(np.where(truth, probabilities, 1 - probabilities), _TINY)).mean(axis=1)
    statistics[LOSS] = partial(_mean, surprise)
    found: dict[Metric, Estimate | None] = {
        metric: bootstrap(one, n, seed, resamples, columns=count) for metric, one in statistics.items()
    }
    found[SUBSET] = wilson(int((said == truth).all(axis=1).sum()), n)
    known = [place for place in range(count) if 0 < truth[:, place].sum() < n]
    for metric, kind in ((MEAN_PRECISION, Precision), (AUROC, Ranking)) if known else ():
        areas = [kind(probabilities[:, place], truth[:, place]).area for place in known]
        rounds = resamples if n * count <= _CELLS else 0
        found[metric] = bootstrap(partial(_mean_area, areas), n, seed, rounds, columns=4 * count)
    return labelled({metric: found.get(metric) for metric in MULTILABEL})


def judge_labels(rows: Sequence[Mapping]) -> Judged:
    """F1, and the share of rows right in all labels, of prediction rows.

    Args:
        rows: as in ``predictions.jsonl``, with lists ``label`` and ``predicted``.
    """
    names = list(
        dict.fromkeys(n for row in rows for n in (*row.get("probabilities", ()), *row["label"], *row["predicted"]))
    )
    truth, said = (_indicators(rows, key, names) for key in ("label", "predicted"))
    return Judged((truth == said).all(axis=1).astype(float), _statistics(truth, said))


def _indicators(rows: Sequence[Mapping], key: str, names: Sequence[str]) -> np.ndarray:
    """Which of the ``names`` each row has (N, C) bool."""
    return np.array([[name in row[key] for name in names] for row in rows]).reshape(len(rows), len(names))


def _statistics(truth: np.ndarray, said: np.ndarray) -> dict[Metric, Statistic]:
    """What is told of both (N, C) alone."""
    parts = [part.astype(np.float32) for part in (said & truth, said, truth)]

    def sums(weights: np.ndarray) -> list[np.ndarray]:
        """How often each label was said and right, said, and there: (R, C) each."""
        return [(weights.T @ part).astype(np.float64) for part in parts]

    def micro(weights: np.ndarray) -> list[np.ndarray]:
        return [part.sum(axis=1) for part in sums(weights)]

    return {
        MICRO_F1: lambda weights: _f1(*micro(weights)),
        MACRO_F1: lambda weights: _f1(*sums(weights)).mean(axis=1),
        SUBSET: partial(_mean, (truth == said).all(axis=1).astype(float)),
        PARTS[0]: lambda weights: _share(*micro(weights)[:2]),
        PARTS[1]: lambda weights: _share(*micro(weights)[::2]),
    }


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return values @ weights / weights.sum(axis=0)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return part / np.maximum(whole, 1)


def _f1(right: np.ndarray, called: np.ndarray, there: np.ndarray) -> np.ndarray:
    return _share(2 * right, called + there)


def _mean_area(of_labels: Sequence[Statistic], weights: np.ndarray) -> np.ndarray:
    """Over the labels that a resample has rows of; NaN where it has none."""
    values = np.stack([one(weights) for one in of_labels])
    there = ~np.isnan(values)
    total = np.where(there, values, 0).sum(axis=0)
    return np.divide(total, there.sum(axis=0), out=np.full(len(total), np.nan), where=there.any(axis=0))


class Precision:
    """Average precision of one label for many row weights at once: the sum over thresholds of precision x gain of recall."""

    def __init__(self, scores: np.ndarray, positive: np.ndarray) -> None:
        self.order = np.argsort(-scores, kind="stable")
        ordered = scores[self.order]
        self.ends = np.flatnonzero(np.concatenate([ordered[1:] != ordered[:-1], [True]]))  # ties are one threshold
        self.positive = positive[self.order][:, None]

    def area(self, weights: np.ndarray) -> np.ndarray:
        """Row weights (N, R) -> (R,); NaN where no positive row was drawn."""
        drawn = weights[self.order].astype(np.float64)
        said = np.cumsum(drawn, axis=0)[self.ends]
        right = np.cumsum(drawn * self.positive, axis=0)[self.ends]
        gain = np.diff(right, axis=0, prepend=0)
        total = np.where(right[-1] > 0, right[-1], np.nan)
        return (gain * right / np.maximum(said, 1)).sum(axis=0) / total


def best_thresholds(probabilities, labels) -> np.ndarray:
    """For each label the threshold with the best F1 (C,) float32, half-way between two probabilities.

    0.5 for a label without rows.
    """
    probabilities, truth = as_array(probabilities), as_array(labels, None).astype(bool)
    found = np.full(truth.shape[1], 0.5, dtype=np.float32)
    for label in np.flatnonzero(truth.any(axis=0)):
        order = np.argsort(-probabilities[:, label], kind="stable")
        ordered, right = probabilities[order, label], np.cumsum(truth[order, label])
        ends = np.flatnonzero(np.concatenate([ordered[1:] != ordered[:-1], [True]]))
        best = ends[np.argmax(2 * right[ends] / (ends + 1 + right[-1]))]
        below = ordered[best + 1] if best + 1 < len(ordered) else 0.0
        found[label] = (ordered[best] + below) / 2
    return found


def multilabel_sections(rows: Sequence[Mapping], labels: Sequence[str]) -> list[Section]:
    """Scores of each label, the most frequent first, and the rows with most wrong labels.

    Args:
        rows: as in ``predictions.jsonl``, with lists ``label`` and ``predicted``.
    """
    if not rows:
        return []
    truth, said = (_indicators(rows, key, labels) for key in ("label", "predicted"))
    right, called, there = (truth & said).sum(0), said.sum(0), truth.sum(0)
    figures = np.stack([_share(right, called), _share(right, there), _f1(right, called, there)], axis=1)
    order = np.argsort(-there, kind="stable")[:_LABELS].tolist()
    lines = [[labels[place], *(f"{one:.3f}" for one in figures[place]), f"{there[place]:,}"] for place in order]
    columns: dict[str, Content] = {"label": "word", "precision": "number", "recall": "number", "F1": "number"}
    sections = [Section("Labels", "", [Table(columns | {"rows": "number"}, lines)])]
    wrong = (truth != said).sum(axis=1)
    worst: list[list[Cell | str]] = []
    for place in np.argsort(-wrong, kind="stable")[: _WRONG[1]].tolist():
        row = rows[place]
        if wrong[place]:
            text = Cell(row.get("text", ""), below=[row["text_pair"]] if row.get("text_pair") else [])
            worst.append([text, ", ".join(row["label"]) or "none", ", ".join(row["predicted"]) or "none"])
    if worst:
        heads: dict[str, Content] = {"text": "text", "true": "text", "predicted": "text"}
        count = int((wrong > 0).sum())
        note = f"{count:,} of {len(rows):,} rows have a wrong label ({count / len(rows):.1%}); those with most first."
        sections.append(Section("Rows with most wrong labels", note, [Table(heads, worst, folded=_WRONG[0])]))
    return sections
