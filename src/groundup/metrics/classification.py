"""Metrics of classification with intervals: one table for our models and for the baselines.

The values are those of torchmetrics and scikit-learn, the intervals ours. A class without rows and without predictions does
not enter a macro mean, and 0/0 counts as 0. Memory grows with the rows, whatever the number of classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torchmetrics.functional.classification import binary_auroc, multiclass_accuracy

from groundup.metrics.calibration import ECE, calibration_error
from groundup.metrics.estimate import LOSS, Estimate, Metric, labelled
from groundup.metrics.intervals import RESAMPLES, as_array, bootstrap, interval, wilson
from groundup.metrics.paired import Judged, Statistic

ACCURACY = Metric("accuracy", "max", shown="table", also=("acc",))
MACRO_F1 = Metric("macro_f1", "max", "macro F1", "table", also=("f1", "f1_macro"))
AUROC = Metric("auroc", "max", "AUROC", "table", also=("auc", "roc_auc"))
MACRO_PRECISION = Metric("macro_precision", "max", shown="list", also=("precision",))
MACRO_RECALL = Metric("macro_recall", "max", shown="list", also=("recall",))
MICRO = tuple(
    Metric(f"micro_{name}", "max", shown="list", also=(f"{name}_micro",)) for name in ("f1", "precision", "recall")
)
CLASSIFICATION = (ACCURACY, MACRO_F1, AUROC, LOSS, ECE, MACRO_PRECISION, MACRO_RECALL, *MICRO)

_TINY = 1e-30  # a probability of exactly 0 for the truth would make the mean infinite
_DRAWN = 20_000_000  # resampled counts that macro intervals may cost
_AREA_CELLS = 5_000_000  # rows x classes up to which AUROC gets an interval; beyond, 200 resamples take minutes


def classification_metrics(probabilities, labels, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """Loss (mean negative log-likelihood, nats), accuracy, macro and micro precision, recall and F1, macro AUROC, ECE.

    Args:
        probabilities: (N, C) array or tensor, rows adding up to 1.
        labels: (N,) array or tensor of class numbers.

    AUROC is the mean over the classes (one against the rest) that have rows on both sides, and is left out when no class has.
    Accuracy has a Wilson interval, the rest bootstrap intervals over rows; AUROC of very many classes has none.

    Raises:
        ValueError: shapes that do not fit, or no rows.
    """
    probabilities, labels = as_array(probabilities, None), as_array(labels, np.int64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or len(labels) == 0:
        raise ValueError(
            f"probabilities (N, C) and labels (N,) with N > 0, not {probabilities.shape} and {labels.shape}"
        )
    n, classes = probabilities.shape
    predictions = probabilities.argmax(axis=1)

    surprise = -np.log(np.maximum(probabilities[np.arange(n), labels], _TINY, dtype=np.float64)).astype(np.float32)
    loss = bootstrap(lambda weights: surprise @ weights / n, n, seed, resamples)
    loss = replace(loss, value=float(surprise.mean(dtype=np.float64)))
    said, true = torch.from_numpy(predictions), torch.from_numpy(labels)
    share = multiclass_accuracy(said, true, classes, average="micro", validate_args=False)
    accuracy = wilson(round(float(share) * n), n)
    macro = _macro(predictions, labels, seed, resamples)
    return labelled(
        {
            ACCURACY: accuracy,
            MACRO_F1: macro["macro_f1"],
            AUROC: _macro_auroc(probabilities, labels, seed, resamples),
            LOSS: loss,
            ECE: bootstrap(calibration_error(probabilities.max(axis=1), predictions == labels), n, seed, resamples),
            MACRO_PRECISION: macro["macro_precision"],
            MACRO_RECALL: macro["macro_recall"],
            # With one label a row every false positive is another class's false negative.
            **dict.fromkeys(MICRO, accuracy),
        }
    )


def macro_scores(counts: np.ndarray, labels: np.ndarray, predictions: np.ndarray) -> dict[str, np.ndarray]:
    """Macro precision, recall and F1, each (R,), of R tables at once.

    Args:
        counts: (R, U) how often each of U pairs of a true and a predicted class occurs.
        labels, predictions: (U,) the two classes of each pair.
    """
    names, both = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    hit = labels == predictions
    true, predicted = (_by_class(counts, numbers, len(names)) for numbers in np.split(both, 2))
    hits = _by_class(counts[:, hit], both[: len(labels)][hit], len(names))
    present = np.maximum(((true + predicted) > 0).sum(axis=1), 1)
    parts = {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, true),
        "f1": _ratio(2 * hits, true + predicted),
    }
    return {f"macro_{name}": part.sum(axis=1) / present for name, part in parts.items()}


def _macro(predictions: np.ndarray, labels: np.ndarray, seed: int, resamples: int) -> dict[str, Estimate]:
    """Values by scikit-learn, as torchmetrics counts in a C x C table; intervals from resampled pairs of classes.

    Drawing N rows with replacement draws the pairs from a multinomial distribution: no row has to be touched, and a pair
    that does not occur stays away.
    """
    from sklearn.metrics import precision_recall_fscore_support

    names = ("macro_precision", "macro_recall", "macro_f1")
    values = precision_recall_fscore_support(labels, predictions, average="macro", zero_division=0)
    n = len(labels)
    if resamples == 0 or n < 2:
        return {name: Estimate(float(value), None, None, n) for name, value in zip(names, values)}
    pairs, counts = np.unique(np.stack([labels, predictions]), axis=1, return_counts=True)
    generator = np.random.default_rng(seed)
    resamples = int(min(resamples, max(200, _DRAWN / len(counts))))
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in names}
    step = max(1, 500_000 // len(counts))
    for start in range(0, resamples, step):
        tables = generator.multinomial(n, counts / n, size=min(step, resamples - start))
        for name, scores in macro_scores(tables, *pairs).items():
            drawn[name].append(scores)
    return {name: interval(value, np.concatenate(drawn[name]), n) for name, value in zip(names, values)}


def _by_class(counts: np.ndarray, numbers: np.ndarray, classes: int) -> np.ndarray:
    """Counts (R, U) added up by the class number of each column: (R, classes)."""
    sums = np.zeros((len(counts), classes))
    if len(numbers):
        order = np.argsort(numbers, kind="stable")
        found, starts = np.unique(numbers[order], return_index=True)
        sums[:, found] = np.add.reduceat(counts[:, order], starts, axis=1)
    return sums


def _macro_auroc(probabilities: np.ndarray, labels: np.ndarray, seed: int, resamples: int) -> Estimate | None:
    n, classes = probabilities.shape
    known = _ranked_classes(labels, classes)
    if not known:
        return None
    # Unlike torchmetrics' own mean over classes, classes without rows stay out instead of counting as 0.
    areas = [
        binary_auroc(
            torch.from_numpy(probabilities[:, c].copy()), torch.from_numpy(np.int64(labels == c)), validate_args=False
        )
        for c in known
    ]
    value = float(torch.stack(areas).double().mean())
    if resamples == 0 or n < 2 or n * len(known) > _AREA_CELLS:
        return Estimate(value, None, None, n)
    drawn = bootstrap(_mean_area(probabilities, labels, known), n, seed, resamples, columns=2 * len(known))
    return Estimate(value, drawn.low, drawn.high, n)


def _ranked_classes(labels: np.ndarray, classes: int) -> list[int]:
    """Those with rows on both sides, by whose scores rows can be ranked."""
    counts = np.bincount(labels, minlength=classes)
    known = [c for c in range(classes) if 0 < counts[c] < len(labels)]
    return known[1:] if classes == 2 else known  # both sides of a binary problem rank alike


def _mean_area(probabilities: np.ndarray, labels: np.ndarray, known: Sequence[int]) -> Statistic:
    ranked = [Ranking(probabilities[:, c], labels == c) for c in known]

    def mean(weights: np.ndarray) -> np.ndarray:
        areas = np.stack([ranking.area(weights) for ranking in ranked])
        there = ~np.isnan(areas)  # a resample may miss a rare class
        return _ratio(np.where(there, areas, 0).sum(axis=0), there.sum(axis=0), empty=np.nan)

    return mean


class Ranking:
    """One class against the rest: the area under the ROC curve as a rank statistic, for many row weights at once.

    It is the chance that a random positive row scores above a random negative one, ties counting half (Mann and Whitney 1947).
    """

    def __init__(self, scores: np.ndarray, positive: np.ndarray) -> None:
        order = np.argsort(scores, kind="stable")
        ordered, self.positive = scores[order], positive[order]
        self.positive_rows, self.negative_rows = order[self.positive], order[~self.positive]
        # For each positive row, how many negatives stand below it, and how many below or beside it.
        negatives = ordered[~self.positive]
        self.below = np.searchsorted(negatives, ordered[self.positive], side="left")
        self.up_to = np.searchsorted(negatives, ordered[self.positive], side="right")

    def area(self, weights: np.ndarray) -> np.ndarray:
        """Row weights (N, R) -> areas (R,); NaN where one side has no weight."""
        positive, negative = weights[self.positive_rows], weights[self.negative_rows]
        passed = np.zeros((len(negative) + 1, weights.shape[1]))
        np.cumsum(negative, axis=0, out=passed[1:])
        beaten = passed[self.below]
        beaten += passed[self.up_to]
        won = np.einsum("nr,nr->r", positive, beaten, dtype=np.float64) / 2
        return _ratio(won, positive.sum(axis=0, dtype=np.float64) * passed[-1], empty=np.nan)


def _ratio(above: np.ndarray, below: np.ndarray, empty: float = 0.0) -> np.ndarray:
    """``above / below``, and ``empty`` where ``below`` is 0."""
    return np.divide(above, below, out=np.full(np.shape(above), empty, dtype=np.float64), where=np.asarray(below) > 0)


def judge_classes(rows: Sequence[Mapping]) -> Judged:
    """Accuracy, macro F1 and, where probabilities of all classes are there, AUROC and the loss of prediction rows.

    Args:
        rows: as in ``predictions.jsonl``, with ``label``, ``predicted`` and maybe ``probabilities``.
    """
    names = {name: number for number, name in enumerate(dict.fromkeys(n for row in rows for n in _named(row)))}
    labels, said = (np.array([names[row[key]] for row in rows]) for key in ("label", "predicted"))
    right = (labels == said).astype(np.float64)
    statistics: dict[Metric, Statistic] = {
        ACCURACY: lambda weights: right @ weights / weights.sum(axis=0),
        MACRO_F1: _macro_f1(labels, said),
    }
    listed = [row.get("probabilities") or {} for row in rows]
    if all(len(one) == len(names) for one in listed):
        probabilities = np.array([[one[name] for name in names] for one in listed])
        surprise = -np.log(np.maximum(probabilities[np.arange(len(rows)), labels], _TINY))
        statistics[LOSS] = lambda weights: surprise @ weights / weights.sum(axis=0)
        statistics[ECE] = calibration_error(probabilities.max(axis=1), right)
        if known := _ranked_classes(labels, len(names)):
            statistics[AUROC] = _mean_area(probabilities, labels, known)
    return Judged(right, {metric: statistics[metric] for metric in CLASSIFICATION if metric in statistics})


def _named(row: Mapping) -> list[str]:
    return [*(row.get("probabilities") or ()), row["label"], row["predicted"]]


def _macro_f1(labels: np.ndarray, said: np.ndarray) -> Statistic:
    from scipy.sparse import csr_matrix

    pairs, which = np.unique(np.stack([labels, said]), axis=1, return_inverse=True)
    which = which.reshape(-1)
    members = csr_matrix((np.ones(len(which)), (which, np.arange(len(which)))))  # (pairs, N)
    return lambda weights: macro_scores((members @ weights).T, *pairs)["macro_f1"]
