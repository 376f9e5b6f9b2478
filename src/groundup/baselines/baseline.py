"""What every classical model has, whatever its task: it learns from the train split, and is judged as a network is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol

from groundup.data.roles import Row
from groundup.metrics.estimate import Estimate, Results
from groundup.metrics.sections import Section


class Texts(Protocol):
    """Rows of splits, and the classes of the train split where there are any; such as ``TextData``."""

    @property
    def labels(self) -> tuple[str, ...]: ...
    def texts(self, split: str) -> list[Row]: ...


class Baseline(ABC):
    """A classical model, as a choice of ``baseline`` describes it.

    tasks: names of those that it stands for, as in ``task=tagging``; ``name``: as tables call it; quick: it takes no time
    worth asking for, so that it stands beside every result of a training.
    """

    tasks: ClassVar[tuple[str, ...]]
    quick: ClassVar[bool] = False
    name: str

    @abstractmethod
    def learn(self, data: Texts) -> Callable[[str], Results]:
        """Learns from the split ``train``. Returns a function of the name of a split: its figures, and answers to its rows."""

    def simpler(self) -> Baseline | None:
        """A simpler model that shows how hard the task is; it stands beside this one in every table."""
        return None

    def sections(self, rows: list[dict[str, Any]], data: Texts, split: str) -> list[Section]:
        """What the report shows of ``rows``, the answers to a split with their texts."""
        return []


def figures(models: Iterable[Baseline | None], data: Texts, splits: Iterable[str]) -> dict[str, dict[str, Estimate]]:
    """What models reach, as ``baselines.json`` holds it: ``{name: {"test/accuracy": Estimate, ...}}``."""
    found: dict[str, dict[str, Estimate]] = {}
    for model in filter(None, models):
        results = model.learn(data)
        found[model.name] = {
            f"{split}/{metric}": one for split in splits for metric, one in results(split).metrics.items()
        }
    return found
