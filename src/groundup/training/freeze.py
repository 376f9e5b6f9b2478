"""Freeze a part of the task, for ever or for the first steps; or thaw a model from the top down."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import nn

from groundup.errors import UserError
from groundup.models.backbone import Backbone
from groundup.models.heads import LanguageModelHead
from groundup.models.lora import is_adapter
from groundup.ranges import Count

log = logging.getLogger(__name__)


class Freeze(Callback):
    """Keeps the parameters of ``what`` as they are: a new head learns first, then (or never) the loaded body.

    Follows from the step alone, so a resume needs no state. Dropout in the frozen part stays on.

    Args:
        until: optimizer step at which the part starts to learn; None = never, or after ``unfreeze_every`` steps.
        what: dotted name of a submodule of the task.
        unfreeze_every: its levels start one after the other, the highest first, so many steps apart; None = together.
            Source: gradual unfreezing, Howard and Ruder 2018.

    Raises:
        UserError: the task has no such part, or the part has no weights of its own, no levels, or nothing else is left to train.
    """

    def __init__(self, until: Count | None = None, what: str = "model", unfreeze_every: Count | None = None):
        self.until = until or unfreeze_every
        self.what, self.unfreeze_every = what, unfreeze_every
        self._frozen: list[nn.Parameter] = []
        self._starts: list[int] = []  # of each of them, the optimizer step at which it starts to learn

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
            if any(True for _ in part.parameters()):
                raise UserError(f"{named}: all of that part is frozen already. Try ~callbacks.freeze")
            raise UserError(f"{named}: that part has no weights of its own to freeze{why}")
        if self.until is None and any(p.requires_grad and is_adapter(name) for name, p in part.named_parameters()):
            raise UserError(
                f"{named} would freeze the adapters of lora.rank, too, and for good. Try callbacks.freeze.until=200, or "
                "~callbacks.freeze"
            )
        if all(any(p is frozen for frozen in self._frozen) for p in pl_module.parameters() if p.requires_grad):
            why = ", as the head shares the embedding of the model. Try task.tied=false" if tied else ""
            raise UserError(f"{named} leaves nothing to train{why}")
        if self.until is not None:
            self._starts = self._steps(part, self.until)
        if self.until is None:  # before the optimizer and DDP are built: neither gets to know them
            for parameter in self._frozen:
                parameter.requires_grad_(False)
        until = "for good" if self.until is None else f"for {self.until} steps"
        last = max(self._starts, default=0)
        log.info("%s is frozen %s%s", self.what, until, f", its lowest level for {last}" if self.unfreeze_every else "")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        # DDP expects a gradient of every parameter it was built with, so there only the update is left out
        if self.until is not None and self._frozen and trainer.world_size == 1:
            for parameter, start in zip(self._frozen, self._starts, strict=True):
                if parameter.requires_grad != (trainer.global_step >= start):
                    parameter.requires_grad_(trainer.global_step >= start)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        for parameter, start in zip(self._frozen, self._starts, strict=False):  # frozen for good: no starts
            if trainer.global_step < start:
                parameter.grad = None

    def _steps(self, part: nn.Module, first: int) -> list[int]:
        """When each frozen parameter starts to learn. What belongs to no level starts with the highest, as with ``layer_decay``."""
        if self.unfreeze_every is None:
            return [first] * len(self._frozen)
        if not isinstance(part, Backbone):
            raise UserError(
                f"callbacks.freeze.unfreeze_every is for models, which have levels, and {self.what} is none. "
                "Try callbacks.freeze.what=model"
            )
        starts: dict[int, int] = {}
        levels = part.levels()
        for depth, level in enumerate(levels):
            for parameter in (one for module in level for one in module.parameters()):
                starts.setdefault(id(parameter), first + (len(levels) - 1 - depth) * self.unfreeze_every)
        return [starts.get(id(parameter), first) for parameter in self._frozen]
