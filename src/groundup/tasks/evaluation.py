"""Evaluation of a whole split: the same code during training, after it, and by ``groundup evaluate``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from groundup.data.examples import Examples
from groundup.data.passages import running_texts
from groundup.data.roles import Row
from groundup.data.text_data import TextData
from groundup.metrics.estimate import Estimate, Results
from groundup.metrics.intervals import RESAMPLES


class Split:
    """The split under evaluation, as a task may ask for it.

    ``final``: this is the evaluation whose figures stay, not one of those during training. Then figures have intervals,
    from ``resamples`` bootstrap samples.
    """

    def __init__(self, data: TextData, name: str, final: bool) -> None:
        self.name, self.final, self._data = name, final, data
        self.resamples = RESAMPLES if final else 0

    @property
    def rows(self) -> list[Row]:
        """Its raw rows, role -> text, in order."""
        return self._data.texts(self.name)

    @property
    def examples(self) -> Examples:
        """The rows as token ids."""
        return self._data.examples(self.name)

    @property
    def running_texts(self) -> Iterator[str]:
        """Their texts, as a language model reads them one after another."""
        return running_texts(self._data.source, self.name)


class Evaluated(Protocol):
    """What a task has to tell to be evaluated; see ``Task``."""

    def evaluate_batch(self, batch: dict[str, Tensor], split: Split) -> dict[str, Tensor]: ...
    def metrics(self, table: dict[str, Tensor], split: Split) -> dict[str, Estimate]: ...
    def describe(self, table: dict[str, Tensor], split: Split) -> list[dict[str, Any]]: ...


class Evaluation:
    """What a task makes of a split, batch by batch; ``results`` does not depend on how it was cut into batches."""

    def __init__(self, task: Evaluated, split: Split) -> None:
        self.task, self.split = task, split
        self._batches: list[dict[str, Tensor]] = []

    def add(self, batch: dict[str, Tensor]) -> None:
        rows = {"index": batch["index"], **self.task.evaluate_batch(batch, self.split)}
        self._batches.append({name: value.cpu() for name, value in rows.items()})

    def table(self, ranks: int = 1) -> dict[str, Tensor]:
        """The evaluated rows of all ranks, in the split's order."""
        return gather_rows(self._batches, ranks)

    def results(self, table: dict[str, Tensor]) -> Results:
        return Results(self.task.metrics(table, self.split), self.task.describe(table, self.split))


def evaluate(
    task: Any,
    data: TextData,
    split: str,
    device: torch.device | str = "cpu",
    autocast: torch.dtype | None = None,
    limit: int | None = None,
    final: bool = True,
) -> Results:
    """One pass over a split, in one process: metrics with 95 % intervals, and predictions.

    Args:
        task: a Task.
        autocast: type of the matrix products (torch.autocast); None: as the weights are.
        limit: batches to look at; None: all.
        final: False: as a validation during training, without intervals.
    """
    device = torch.device(device)
    task.eval().to(device)
    evaluation = Evaluation(task, Split(data, split, final))
    loader = data.loader(split, task.collator())
    with torch.inference_mode(), torch.autocast(device.type, dtype=autocast, enabled=autocast is not None):
        for batch in islice(loader, limit):
            evaluation.add({name: value.to(device) for name, value in batch.items()})
    return evaluation.results(evaluation.table())


def gather_rows(batches: list[dict[str, Tensor]], ranks: int) -> dict[str, Tensor]:
    """Evaluated batches of all ranks as one table in the split's order, whatever the batches and ranks were."""
    if ranks > 1:
        everyone: list[list[dict[str, Tensor]]] = [[] for _ in range(ranks)]
        dist.all_gather_object(everyone, batches)
        batches = [batch for rank in everyone for batch in rank]
    table = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    order = table["index"].argsort()
    return {name: values[order] for name, values in table.items()}


def flat(results: Iterable[tuple[str, Results]]) -> dict[str, Estimate]:
    """``{"test/accuracy": Estimate, ...}`` of several splits."""
    return {f"{split}/{name}": estimate for split, found in results for name, estimate in found.metrics.items()}
