"""What a classifier must beat: the majority class, and logistic regression on a bag of words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from groundup.baselines.baseline import class_numbers
from groundup.baselines.linear import LogisticRegression
from groundup.metrics.classification import classification_metrics
from groundup.metrics.estimate import Estimate

MAJORITY = "majority class"
BAG_OF_WORDS = "bag-of-words logistic regression"


def classification_baselines(
    train_rows: Iterable[Mapping], test_rows: Iterable[Mapping], labels: Sequence[str], split: str = "test"
) -> dict[str, dict[str, Estimate]]:
    """Both baselines, as ``baselines.json`` holds them: ``{name: {"test/accuracy": Estimate, ...}}``.

    Args:
        train_rows, test_rows: rows with ``text``, maybe ``text_pair``, and ``label``.
        labels: class names; their order is that of the metrics.
        split: prefix of the metric names.
    """
    train, test = [dict(row) for row in train_rows], [dict(row) for row in test_rows]
    truth, expected = (class_numbers([row["label"] for row in rows], labels) for rows in (train, test))
    words = LogisticRegression()
    said = words.fit(words.count(train), truth, len(labels)).probabilities(test)
    found = {MAJORITY: majority(truth, expected, len(labels)), BAG_OF_WORDS: classification_metrics(said, expected)}
    return {name: {f"{split}/{metric}": value for metric, value in one.items()} for name, one in found.items()}


def majority(truth: np.ndarray, expected: np.ndarray, classes: int) -> dict[str, Estimate]:
    """Always the most frequent class of the train split; its probabilities are the shares of the classes, add-one smoothed.

    Args:
        truth, expected: classes of the train rows and of the rows to answer, as numbers below ``classes``.
    """
    counts = np.bincount(truth, minlength=classes) + 1.0
    return classification_metrics(np.tile(counts / counts.sum(), (len(expected), 1)), expected)
