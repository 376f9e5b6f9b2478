"""A split under evaluation: what metrics may ask of it, and its rows in one table."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from groundup.data.datamodule import Examples, TextDataModule
from groundup.data.roles import Row


class Split:
    """The split under evaluation, as metrics may ask for it."""

    def __init__(self, data: TextDataModule, name: str) -> None:
        self.name, self._data = name, data

    @property
    def rows(self) -> list[Row]:
        """Its raw rows, role -> text, in order."""
        return self._data.texts(self.name)

    @property
    def examples(self) -> Examples:
        """The rows as token ids."""
        return self._data.examples(self.name)

    @property
    def bytes_per_token(self) -> float | None:
        """UTF-8 bytes of the text that a scored token stands for."""
        return self._data.bytes_per_token(self.name)


def gather_rows(batches: list[dict[str, Tensor]], ranks: int) -> dict[str, Tensor]:
    """Evaluated batches of all ranks as one table in the split's order, whatever the batches and ranks were."""
    if ranks > 1:
        everyone: list[list[dict[str, Tensor]]] = [[] for _ in range(ranks)]
        dist.all_gather_object(everyone, batches)
        batches = [batch for rank in everyone for batch in rank]
    table = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    order = table["index"].argsort()
    return {name: values[order] for name, values in table.items()}
