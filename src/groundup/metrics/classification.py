"""Metrics of classification with intervals: one table for our models and for the baselines.

Precision, recall and F1 follow scikit-learn's definitions: a class without rows and without predictions does not enter a macro mean,
0/0 counts as 0.
"""

from __future__ import annotations

import numpy as np

from groundup.metrics.arrays import as_array
from groundup.metrics.estimate import RESAMPLES, Estimate, bootstrap, interval, wilson

_TINY = 1e-30  # a probability of exactly 0 for the truth would make the mean infinite


def classification_metrics(probabilities, labels, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """Loss (mean negative log-likelihood, nats), accuracy, macro and micro precision, recall and F1, and macro AUROC.

    Args:
        probabilities: (N, C) array or tensor, rows adding up to 1.
        labels: (N,) array or tensor of class numbers.

    AUROC is the mean over the classes (one against the rest) that have rows on both sides, and is left out when no class has.
    Accuracy has a Wilson interval, the rest bootstrap intervals over rows.

    Raises:
        ValueError: shapes that do not fit, or no rows.
    """
    probabilities, labels = as_array(probabilities), as_array(labels, np.int64)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or len(labels) == 0:
        raise ValueError(
            f"probabilities (N, C) and labels (N,) with N > 0, not {probabilities.shape} and {labels.shape}"
        )
    n, classes = probabilities.shape
    predictions = probabilities.argmax(axis=1)

    surprise = -np.log(np.maximum(probabilities[np.arange(n), labels], _TINY)).astype(np.float32)
    result = {"loss": bootstrap(lambda weights: surprise @ weights / n, n, seed, resamples)}
    result["loss"] = Estimate(float(surprise.mean(dtype=np.float64)), result["loss"].low, result["loss"].high, n)
    result["accuracy"] = wilson(int((predictions == labels).sum()), n)

    matrix = confusion_matrix(predictions, labels, classes)
    scores, resampled = macro_scores(matrix[None]), macro_scores(_resampled_matrices(matrix, seed, resamples))
    result |= {name: interval(scores[name][0], resampled[name], n) for name in scores}
    # With one label a row every false positive is another class's false negative: the micro scores are the accuracy.
    result |= {name.replace("macro", "micro"): result["accuracy"] for name in scores}

    auroc = _macro_auroc(probabilities, labels, seed, resamples)
    return result if auroc is None else {**result, "auroc": auroc}


def confusion_matrix(predictions, labels, classes: int) -> np.ndarray:
    """Counts (C, C) int64: rows are the true classes, columns the predicted ones."""
    cells = as_array(labels, np.int64) * classes + as_array(predictions, np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def _resampled_matrices(matrix: np.ndarray, seed: int, resamples: int) -> np.ndarray:
    """Confusion matrices (R, C, C) of bootstrap samples.

    Drawing N rows with replacement draws the cells from a multinomial distribution: no row has to be touched.
    """
    generator = np.random.default_rng(seed)
    resamples = int(min(resamples, max(200, 20_000_000 / matrix.size)))
    flat, n = matrix.ravel(), int(matrix.sum())
    used = np.flatnonzero(flat)  # empty cells stay empty
    drawn = np.zeros((resamples, flat.size), dtype=np.int64)
    drawn[:, used] = generator.multinomial(n, flat[used] / n, size=resamples)
    return drawn.reshape(resamples, *matrix.shape)


def macro_scores(matrices: np.ndarray) -> dict[str, np.ndarray]:
    """Macro precision, recall and F1, each (R,), of confusion matrices (R, C, C)."""
    hits = np.diagonal(matrices, axis1=1, axis2=2).astype(np.float64)
    true, predicted = matrices.sum(axis=2), matrices.sum(axis=1)
    present = (true + predicted) > 0
    parts = {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, true),
        "f1": _ratio(2 * hits, true + predicted),
    }
    return {f"macro_{name}": (part * present).sum(axis=1) / present.sum(axis=1) for name, part in parts.items()}


def _macro_auroc(probabilities: np.ndarray, labels: np.ndarray, seed: int, resamples: int) -> Estimate | None:
    n, classes = probabilities.shape
    counts = np.bincount(labels, minlength=classes)
    ranked = [_Ranking(probabilities[:, c], labels == c) for c in range(classes) if 0 < counts[c] < n]
    if not ranked:
        return None
    if classes == 2:  # both sides of a binary problem rank alike
        ranked = ranked[1:]

    def macro(weights: np.ndarray) -> np.ndarray:
        areas = np.stack([ranking.area(weights) for ranking in ranked])
        known = ~np.isnan(areas)  # a resample may miss a rare class
        return _ratio(np.where(known, areas, 0).sum(axis=0), known.sum(axis=0), empty=np.nan)

    return bootstrap(macro, n, seed, resamples, columns=2 * len(ranked))


class _Ranking:
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
