"""An average of the weights of several steps, which is often better than those of any one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from groundup.errors import UserError


class WeightAverage(Callback):
    """Validates, and keeps as best, an average of the weights, from when there is one. Training itself is untouched.

    Buffers are not averaged. Outside ``fit`` nothing is swapped: an evaluation uses the weights that were loaded
    (``best.ckpt`` holds averaged ones).

    Raises:
        UserError: under ``trainer=fsdp``, or beside another average.
    """

    name: ClassVar[str]  # what switches it on
    advice: ClassVar[str]  # what to type where it cannot be

    def __init__(self) -> None:
        self.average: dict[str, Tensor] = {}
        self._step = -1  # optimizer step of the last update
        self._swapped = False

    def share(self, step: int, steps: int) -> float:
        """How far the average moves towards the weights after ``step`` of ``steps``. It begins where this is not 0."""
        raise NotImplementedError

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if pl_module.device_mesh is not None:
            raise UserError(f"{self.name} averages whole tensors, and trainer=fsdp shards them. Try {self.advice}")
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        if sum(isinstance(callback, WeightAverage) for callback in callbacks) > 1:
            raise UserError(f"{self.name}: another average of the weights is validated and kept. Try {self.advice}")
        self._step = trainer.global_step
        share = self.share(self._step, trainer.max_steps)
        if share and self.average:  # loaded from a checkpoint, on the CPU
            parameters = pl_module.named_parameters()
            self.average = {name: self.average[name].to(value.device) for name, value in parameters}
        elif share:
            self._begin(pl_module)
        else:
            self.average = {}

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._step:  # inside an accumulation window
            return
        self._step = step
        share = self.share(step, trainer.max_steps)
        if not share:  # that of before the run was made longer, too
            self.average = {}
        elif self.average:
            current = [parameter.detach() for parameter in pl_module.parameters()]
            torch._foreach_lerp_(list(self.average.values()), current, share)
        else:
            self._begin(pl_module)

    def _begin(self, pl_module: LightningModule) -> None:
        self.average = {name: value.detach().clone() for name, value in pl_module.named_parameters()}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING and self.average:
            self._swap(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._swapped:
            self._swap(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._swapped:
            self._swap(pl_module)

    @torch.no_grad()
    def _swap(self, pl_module: LightningModule) -> None:
        """Exchanges the numbers, not the tensors: optimizer, tied weights and compiled code keep pointing at them."""
        for average, parameter in zip(self.average.values(), pl_module.parameters(), strict=True):
            held = parameter.detach().clone()
            parameter.copy_(average)
            average.copy_(held)
        self._swapped = not self._swapped

    @staticmethod
    @contextmanager
    def weights_for_use(trainer: Trainer, pl_module: LightningModule) -> Iterator[None]:
        """Inside: the module holds the averaged weights where the trainer has some, else its own."""
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        kept = next((callback for callback in callbacks if isinstance(callback, WeightAverage)), None)
        if kept is None or not kept.average or kept._swapped:
            yield
            return
        kept._swap(pl_module)
        try:
            yield
        finally:
            kept._swap(pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average = dict(state_dict["average"])
