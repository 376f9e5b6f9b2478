"""Batches of a run as Lightning asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from lightning.pytorch import LightningDataModule
from pydantic import Field

from groundup.data.augmentation import Augmentation, Augmented
from groundup.data.loading import Collate, StreamLoader
from groundup.data.text_data import TextData


class TextDataModule(LightningDataModule):
    """The loaders of a training; their order follows from the data's seed and the micro-batch's number alone.

    Args:
        data: rows as examples.
        collate: examples to a batch; a task has one, ``task.collator(data.tokenizer)``.
        total: micro-batches of the run on each rank, resumed or not: max_steps x accumulation; None: one epoch.
        start: micro-batches done before a resume.
        augmentations: of training rows, one after the other.

    Trainers need ``use_distributed_sampler=False``: ranks are told apart here.
    """

    def __init__(
        self,
        data: TextData,
        collate: Collate,
        total: int | None = None,
        start: int = 0,
        num_workers: Annotated[int, Field(ge=0)] = 0,
        augmentations: Sequence[Augmentation] = (),
    ) -> None:
        super().__init__()
        self.augmentations = augmentations
        self.data, self.collate, self.total, self.start, self.num_workers = data, collate, total, start, num_workers

    def train_dataloader(self) -> StreamLoader:
        rank, world = self._place()
        collate = Augmented(self.collate, self.augmentations) if self.augmentations else self.collate
        return self.data.train_loader(collate, self.total, self.start, rank, world, self.num_workers)

    def val_dataloader(self) -> StreamLoader:
        return self.data.loader("validation", self.collate, *self._place(), self.num_workers)

    def _place(self) -> tuple[int, int]:
        """(rank, number of ranks)."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
