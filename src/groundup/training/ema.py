"""Exponential moving average of the weights."""

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
from groundup.ranges import Rate


class EMA(Callback):
    """Validates, and keeps as best, the average of the weights over the last steps. Training itself is untouched.

    After step t the average moves by 1 - min(decay, (1 + t) / (10 + t)) towards the weights: the rate starts small so
    that the random initial weights are soon forgotten. Buffers are not averaged. Outside ``fit`` nothing is swapped:
    an evaluation uses the weights that were loaded (``best.ckpt`` holds averaged ones).

    Args:
        decay: share of the old average kept at each step; 0.999 averages over about the last 1000 steps.

    Raises:
        UserError: under ``trainer=fsdp``.

    Source: Polyak and Juditsky 1992; warm-up as in TensorFlow's ExponentialMovingAverage.
    """

    refusal: ClassVar[str] = "callbacks.ema averages whole tensors, and trainer=fsdp shards them. Try ~callbacks.ema"

    def __init__(self, decay: Rate = 0.999):
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self._step = -1  # optimizer step of the last update
        self._swapped = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if pl_module.device_mesh is not None:
            raise UserError(self.refusal)
        parameters = dict(pl_module.named_parameters())
        if self.average:  # loaded from a checkpoint, on the CPU
            self.average = {name: self.average[name].to(value.device) for name, value in parameters.items()}
        else:
            self.average = {name: value.detach().clone() for name, value in parameters.items()}
            self._step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._step:  # inside an accumulation window
            return
        self._step = step
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        current = [parameter.detach() for parameter in pl_module.parameters()]
        torch._foreach_lerp_(list(self.average.values()), current, weight)

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
        """Inside: the module holds the averaged weights if the trainer has an EMA, else its own."""
        callbacks = trainer.callbacks  # type: ignore[attr-defined]
        ema = next((callback for callback in callbacks if isinstance(callback, EMA)), None)
        if ema is None or not ema.average or ema._swapped:
            yield
            return
        ema._swap(pl_module)
        try:
            yield
        finally:
            ema._swap(pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average, "step": self._step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.average, self._step = dict(state_dict["average"]), state_dict["step"]
