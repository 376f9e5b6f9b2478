"""What a model of several labels must beat: their shares, and one bag of words a label."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from groundup.baselines.regression import counts
from groundup.data.roles import Row
from groundup.data.sources.source import row_labels
from groundup.metrics.estimate import Estimate
from groundup.metrics.multilabel import multilabel_metrics

SHARES = "shares of the labels"
ONE_VERSUS_REST = "bag of words, one against the rest"


def multilabel_baselines(
    train_rows: Iterable[Row], test_rows: Iterable[Row], labels: Sequence[str], split: str = "test"
) -> dict[str, dict[str, Estimate]]:
    """Both baselines, as ``baselines.json`` holds them: ``{name: {"test/micro_f1": Estimate, ...}}``.

    Args:
        train_rows, test_rows: rows with ``text``, maybe ``text_pair``, and ``label``, a list.
        labels: label names; their order is that of the metrics.
        split: prefix of the metric names.
    """
    train_rows, test_rows = list(train_rows), list(test_rows)
    train, truth = (
        np.array([[name in row_labels(row) for name in labels] for row in rows]) for rows in (train_rows, test_rows)
    )
    found = {
        SHARES: np.tile(train.mean(axis=0), (len(truth), 1)),
        ONE_VERSUS_REST: one_versus_rest(train_rows, test_rows, train),
    }
    return {
        name: {f"{split}/{metric}": one for metric, one in multilabel_metrics(probabilities, truth).items()}
        for name, probabilities in found.items()
    }


def one_versus_rest(
    train_rows: Sequence[Row], test_rows: Sequence[Row], truth: np.ndarray, C: float = 10.0
) -> np.ndarray:
    """Probabilities (N, labels) of a logistic regression a label, on TF-IDF of words, their pairs and characters.

    ``truth`` (train rows, labels) bool; ``C`` is the inverse of the L2 penalty. A label that all rows have, or none, has
    that probability.
    """
    from sklearn.linear_model import LogisticRegression

    ours, theirs = counts(train_rows, test_rows)
    probabilities = np.tile(truth.mean(axis=0), (len(test_rows), 1))
    for label in np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)):
        model = LogisticRegression(C=C, solver="liblinear").fit(ours, truth[:, label])
        probabilities[:, label] = model.predict_proba(theirs)[:, 1]
    return probabilities
