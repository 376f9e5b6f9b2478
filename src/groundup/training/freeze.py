"""Freeze a part of the task, for ever or for the first steps."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from groundup.errors import UserError
from groundup.models.heads import LanguageModelHead
from groundup.ranges import Count

log = logging.getLogger(__name__)


class Freeze(Callback):
    """Keeps the parameters of ``what`` as they are: a new head learns first, then (or never) the loaded body.

    Follows from the step alone, so a resume needs no state. Dropout in the frozen part stays on.

    Args:
        until: optimizer step at which the part starts to learn; None = never.
        what: dotted name of a submodule of the task.

    Raises:
        UserError: the task has no such part, or the part has no weights of its own, or nothing else is left to train.
    """

    def __init__(self, until: Count | None = None, what: str = "model"):
        self.until, self.what = until, what
        self._frozen: list[nn.Parameter] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        try:
            part = pl_module.get_submodule(self.what)
        except AttributeError:
            parts = ", ".join(name for name, _ in pl_module.named_children())
            raise UserError(f"callbacks.freeze.what={self.what}: the task has no such part, but {parts}") from None
        self._frozen = [parameter for parameter in part.parameters() if parameter.requires_grad]
        named = f"callbacks.freeze.what={self.what}"
        tied = any(isinstance(head, LanguageModelHead) and head.tied for head in pl_module.modules())
        if not self._frozen:
            why = ", as it shares the embedding of the model" if tied else ""
            raise UserError(f"{named}: that part has no weights of its own to freeze{why}")
        if all(any(p is frozen for frozen in self._frozen) for p in pl_module.parameters() if p.requires_grad):
            why = ", as the head shares the embedding of the model. Try task.tied=false" if tied else ""
            raise UserError(f"{named} leaves nothing to train{why}")
        if self.until is None:  # before the optimizer and DDP are built: neither gets to know them
            self._require_gradient(False)
        log.info("%s is frozen %s", self.what, "for good" if self.until is None else f"for {self.until} steps")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # DDP expects a gradient of every parameter it was built with, so there only the update is left out
        if self.until is not None and self._frozen and trainer.world_size == 1:
            self._require_gradient(trainer.global_step >= self.until)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        if self.until is not None and trainer.global_step < self.until:
            for parameter in self._frozen:
                parameter.grad = None

    def _require_gradient(self, flag: bool) -> None:
        if self._frozen[0].requires_grad != flag:
            for parameter in self._frozen:
                parameter.requires_grad_(flag)
