"""What a model of several labels must beat: the share of rows that have each label, and one bag of words a label."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from groundup.baselines.baseline import Baseline, Texts
from groundup.baselines.regression import counts
from groundup.data.roles import Row
from groundup.data.sources.labels import row_labels
from groundup.metrics.estimate import Results
from groundup.metrics.multilabel import multilabel_metrics, multilabel_sections
from groundup.metrics.sections import Section


class Labeller(Baseline):
    """Tells a probability of each label."""

    tasks = ("multilabel",)

    @abstractmethod
    def probabilities(self, train: Sequence[Row], rows: Sequence[Row], truth: np.ndarray) -> np.ndarray:
        """Of each label for each of the ``rows`` (N, C), learned from ``train`` and which labels it has, ``truth`` (T, C) bool."""

    def learn(self, data: Texts) -> Callable[[str], Results]:
        train, names = data.texts("train"), data.labels

        def results(split: str) -> Results:
            rows = data.texts(split)
            learned, truth = (
                np.array([[name in row_labels(row) for name in names] for row in some]) for some in (train, rows)
            )
            said = self.probabilities(train, rows, learned)
            told = [
                {
                    "index": index,
                    "label": row_labels(row),
                    "predicted": [name for name, one in zip(names, own, strict=True) if one >= 0.5],
                }
                for index, (row, own) in enumerate(zip(rows, said.tolist(), strict=True))
            ]
            return Results(multilabel_metrics(said, truth), told)

        return results

    def sections(self, rows: list[dict[str, Any]], data: Texts, split: str) -> list[Section]:
        return multilabel_sections(rows, data.labels)


class LabelShares(Labeller):
    """Each label with its share of the train rows, whatever the text."""

    name = "shares of the labels"

    def probabilities(self, train: Sequence[Row], rows: Sequence[Row], truth: np.ndarray) -> np.ndarray:
        return np.tile(truth.mean(axis=0), (len(rows), 1))


class OneAgainstRest(Labeller):
    """A logistic regression a label, on TF-IDF of words, their pairs and characters; ``C``: the inverse of the L2 penalty.

    A label that all rows have, or none, has that probability.
    """

    name = "bag of words, one against the rest"

    def __init__(self, C: Annotated[float, Field(gt=0)] = 10.0) -> None:
        self.C = C

    def probabilities(self, train: Sequence[Row], rows: Sequence[Row], truth: np.ndarray) -> np.ndarray:
        from sklearn.linear_model import LogisticRegression

        ours, theirs = counts(train, rows)
        probabilities = np.tile(truth.mean(axis=0), (len(rows), 1))
        for label in np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)):
            model = LogisticRegression(C=self.C, solver="liblinear").fit(ours, truth[:, label])
            probabilities[:, label] = model.predict_proba(theirs)[:, 1]
        return probabilities

    def simpler(self) -> Baseline | None:
        return LabelShares()
