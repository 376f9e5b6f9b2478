"""What every classical classifier has: it learns from rows, tells probabilities, and is saved as data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from groundup.data.roles import Row


class Fitted(ABC):
    """A classifier that has learned."""

    @abstractmethod
    def probabilities(self, rows: Sequence[Row]) -> np.ndarray:
        """Of every class for each row (N, C); rows add up to 1."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Writes it as files of plain numbers and JSON."""


class Baseline(ABC):
    """How a classical classifier learns; what was counted of rows once serves every part of them."""

    columns: ClassVar[tuple[str, ...]] = ("text", "label")  # of tasks that it stands for

    @abstractmethod
    def count(self, rows: Sequence[Row]) -> Any:
        """What it sees of ``rows``, which does not depend on labels: has a length, and ``counted[numbers]`` is a part."""

    @abstractmethod
    def fit(self, counted: Any, truth: np.ndarray, classes: int) -> Fitted:
        """Learns from counted rows and their classes ``truth`` (N,), numbers below ``classes``. Deterministic."""

    @abstractmethod
    def load(self, folder: Path, classes: int) -> Fitted:
        """What ``save`` has written, as anybody's data. Raises UserError where it is missing or damaged."""


def class_numbers(names: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """The place in ``labels`` of each name (N,) int64; -1 for a name that is none of them."""
    number = {label: place for place, label in enumerate(labels)}
    return np.array([number.get(name, -1) for name in names], dtype=np.int64)
