"""Batches of a run as Lightning asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from lightning.pytorch import LightningDataModule
from pydantic import Field

from groundup.data.augmentation import Augmentation, Augmented
from groundup.data.loading import Beside, Collate, StreamLoader
from groundup.data.text_data import UNLABELLED, TextData


class TextDataModule(LightningDataModule):
    """The loaders of a training; their order follows from the data's seed and the micro-batch's number alone.

    Args:
        data: rows as examples.
        collate: examples to a batch; a task has one, ``task.collator(data.tokenizer)``.
        total: micro-batches of the run on each rank, resumed or not: max_steps x accumulation; None: one epoch.
        start: micro-batches done before a resume.
        augmentations: of training rows, one after the other.
        unlabelled: each training batch comes with one of rows without a label, under ``UNLABELLED``; and under its
            ``changed`` as augmentations make it, if there are any.

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
        unlabelled: bool = False,
    ) -> None:
        super().__init__()
        self.augmentations, self.unlabelled = augmentations, unlabelled
        self.data, self.collate, self.total, self.start, self.num_workers = data, collate, total, start, num_workers

    def train_dataloader(self) -> StreamLoader | Beside:
        where = (self.total, self.start, *self._place(), self.num_workers)
        changed = Augmented(self.collate, self.augmentations) if self.augmentations else None
        loader = self.data.train_loader(changed or self.collate, *where)
        if not self.unlabelled:
            return loader
        collate = _AlsoChanged(self.collate, changed) if changed else self.collate
        return Beside(loader, UNLABELLED, self.data.train_loader(collate, *where, split=UNLABELLED))

    def val_dataloader(self) -> StreamLoader:
        return self.data.loader("validation", self.collate, *self._place(), self.num_workers)

    def _place(self) -> tuple[int, int]:
        """(rank, number of ranks)."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)


class _AlsoChanged:
    """A collator: the rows as they are and, as ``changed``, as augmentations make them."""

    def __init__(self, collate: Collate, changed: Augmented) -> None:
        self.collate, self.changed = collate, changed

    def __call__(self, examples: list[dict[str, Any]], seeds: Sequence[int]) -> dict[str, Any]:
        return {**self.collate(examples, seeds), "changed": self.changed(examples, seeds)}
