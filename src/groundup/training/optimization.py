"""How a task is optimized: what Lightning asks for in ``configure_optimizers``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from groundup.training.groups import parameter_groups, shrink, table

log = logging.getLogger(__name__)


class Optimization:
    """Makes the optimizer and the schedule of a module.

    Args:
        optimizer: takes parameter groups; a ``functools.partial`` that holds at least ``lr``.
        scheduler: takes (optimizer, total_steps=...).
        total_steps: optimizer steps of the run.
        layer_decay: factor of the learning rate per layer, from the top down.
        l1: strength of the L1 penalty.
    """

    def __init__(
        self,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., Any],
        total_steps: int,
        layer_decay: float = 1.0,
        l1: float = 0.0,
    ) -> None:
        self.optimizer, self.scheduler, self.total_steps = optimizer, scheduler, total_steps
        self.layer_decay, self.l1 = layer_decay, l1

    def __call__(self, module: nn.Module) -> dict[str, Any]:
        settings = getattr(self.optimizer, "keywords", {})
        groups = parameter_groups(module, settings["lr"], settings.get("weight_decay", 0.0), self.layer_decay)
        optimizer = self.optimizer(groups)
        # After the optimizer is made, because it may give kinds rates of their own.
        log.info("%s", table(optimizer.param_groups), extra={"log_only": True})
        if self.l1 > 0:
            optimizer.register_step_post_hook(lambda optimizer, *_: shrink(optimizer.param_groups, self.l1))
        scheduler = self.scheduler(optimizer, total_steps=self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
