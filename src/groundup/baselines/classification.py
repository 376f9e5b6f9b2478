"""What every classical classifier has, and the simplest one: always the most frequent class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from groundup.baselines.baseline import Baseline, Texts
from groundup.data.roles import Row
from groundup.metrics.classes import answered_rows
from groundup.metrics.classification import classification_metrics
from groundup.metrics.estimate import Results
from groundup.system.arrays import read_arrays, write_arrays
from groundup.system.files import damaged

FILE = "baseline.npz"


class Fitted(ABC):
    """A classifier that has learned."""

    @abstractmethod
    def probabilities(self, rows: Sequence[Row]) -> np.ndarray:
        """Of every class for each row (N, C); rows add up to 1."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes it as files of plain numbers and JSON."""


class ClassifierBaseline(Baseline):
    """How a classifier learns, which can be saved and used; what was counted of rows once serves every part of them."""

    tasks = ("classification",)

    @abstractmethod
    def count(self, rows: Sequence[Row]) -> Any:
        """The features of ``rows``, which do not depend on labels. They have a length, and ``counted[numbers]`` are those of a part."""

    @abstractmethod
    def fit(self, counted: Any, truth: np.ndarray, classes: int) -> Fitted:
        """Learns from counted rows and their classes ``truth`` (N,), numbers below ``classes``. Deterministic."""

    @abstractmethod
    def load(self, folder: Path, classes: int) -> Fitted:
        """What ``save`` has written, as anybody's data. Raises UserError where it is missing or damaged."""

    def learn(self, data: Texts) -> Callable[[str], Results]:
        rows = [row for row in data.texts("train") if "weight" not in row]  # not those that a teacher answered
        fitted = self.fit(self.count(rows), truth_of(rows, data.labels), len(data.labels))

        def results(split: str) -> Results:
            rows = data.texts(split)
            probabilities, labels = fitted.probabilities(rows), [row["label"] for row in rows]
            told = answered_rows(range(len(rows)), labels, probabilities, data.labels)
            return Results(classification_metrics(probabilities, truth_of(rows, data.labels)), told)

        return results

    def simpler(self) -> Baseline | None:
        return Majority()


class Majority(ClassifierBaseline):
    """Always the most frequent class of the train split."""

    name = "majority class"

    def count(self, rows: Sequence[Row]) -> np.ndarray:
        return np.arange(len(rows))

    def fit(self, counted: np.ndarray, truth: np.ndarray, classes: int) -> Shares:
        counts = np.bincount(truth, minlength=classes) + 1.0
        return Shares(counts / counts.sum())

    def load(self, folder: Path, classes: int) -> Shares:
        shares = read_arrays(folder / FILE).get("shares", np.zeros(0))
        if shares.shape != (classes,) or (shares < 0).any() or not np.isclose(shares.sum(), 1):
            raise damaged(folder / FILE, f"it holds no shares of {classes} classes")
        return Shares(shares)

    def simpler(self) -> None:
        return None


class Shares(Fitted):
    """The same for every row: ``shares`` (C,) of the classes, add-one smoothed."""

    def __init__(self, shares: np.ndarray) -> None:
        self.shares = shares

    def probabilities(self, rows: Sequence[Row]) -> np.ndarray:
        return np.tile(self.shares, (len(rows), 1))

    def save(self, folder: Path) -> None:
        write_arrays(folder / FILE, {"shares": self.shares})


def truth_of(rows: Sequence[Row], labels: Sequence[str]) -> np.ndarray:
    """The class of each row as its place in ``labels`` (N,) int64; -1 for one that is none of them."""
    number = {label: place for place, label in enumerate(labels)}
    return np.array([number.get(row["label"], -1) for row in rows], dtype=np.int64)
