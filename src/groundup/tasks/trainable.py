"""How Lightning trains a task: the mean loss over all scored positions of an optimizer step, however it is cut into batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from groundup.data.collate import IGNORE
from groundup.errors import UserError
from groundup.models.backbone import Backbone


@dataclass
class Loss:
    """A loss before averaging.

    ``total`` () is the sum over scored positions, ``count`` () how many there are (or the sum of their weights).
    ``plain`` () is what is reported where it is not what is trained on: without label smoothing.
    ``logits`` is what a teacher's answers are compared with: (N, C) of N rows, words or tokens, or N numbers (N,); ``counts``
    (N,) how much each counts, None: all alike.
    """

    total: Tensor
    count: Tensor
    plain: Tensor | None = None
    logits: Tensor | None = None
    counts: Tensor | None = None


Optimize = Callable[[nn.Module], Any]  # a task to what Lightning's ``configure_optimizers`` returns


class Trainable(LightningModule):
    """A model with a ``loss``; one that is given ``optimize`` can be trained.

    The gradient of an optimizer step is that of the sum of the losses of all scored positions, in all micro-batches and
    on all ranks, divided by their number: splitting a batch changes nothing.
    """

    def __init__(self, model: Backbone, optimize: Optimize | None = None) -> None:
        super().__init__()
        self.model = model
        self.optimize = optimize
        self.grad_norm: Tensor | None = None
        self.step_statistics: dict[str, Tensor] = {}  # "loss" and "count" since a callback last took them
        self._window_count: Tensor | None = None  # () scored positions of the optimizer step so far

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        """The loss to train on."""
        raise NotImplementedError

    def configure_model(self) -> None:
        """Under ``trainer=fsdp``: spreads the parameters over the processes, block by block (FSDP2).

        Raises UserError for an encoder-decoder.

        Source: https://docs.pytorch.org/docs/stable/distributed.fsdp.fully_shard.html
        """
        if self.device_mesh is None or any(isinstance(parameter, DTensor) for parameter in self.parameters()):
            return
        if self.model.kind == "encoder_decoder":  # its halves are called on their own, past the hooks of the whole
            raise UserError("trainer=fsdp does not spread encoder-decoders. Try trainer=ddp")
        mesh = self.device_mesh["data_parallel"]
        for part in self.children():  # each is a root: a task calls its model and its head one after the other
            for block in self.model.blocks if part is self.model else ():
                fully_shard(block, mesh=mesh)
            if any(True for _ in part.parameters()):
                fully_shard(part, mesh=mesh)

    def count_tokens(self, batch: dict[str, Tensor]) -> int | Tensor:
        """Real tokens of a batch, padding not counted; a tensor () where a number would make the GPU wait."""
        mask = batch.get("attention_mask")
        tokens = batch["input_ids"].numel() if mask is None else mask.sum()
        return tokens + (batch["labels"] != IGNORE).sum() if "decoder_input_ids" in batch else tokens

    def count_positions(self, batch: dict[str, Tensor]) -> int:
        """Positions of a batch, padding counted."""
        both = ("input_ids", "decoder_input_ids")
        return sum(batch[name].numel() for name in both if name in batch)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        loss = self.loss(batch)
        total, count = (loss.total if loss.plain is None else loss.plain).detach(), loss.count.detach()
        self._window_count = count if self._window_count is None else self._window_count + count
        seen = self.step_statistics
        self.step_statistics = {
            "loss": seen["loss"] + total if seen else total,
            "count": seen["count"] + count if seen else count,
        }
        # Lightning divides by the accumulated batches; the division that is meant comes in configure_gradient_clipping.
        return loss.total * self.trainer.accumulate_grad_batches

    def reset_statistics(self, sums: Mapping[str, float] | None = None) -> None:
        """Begins new ``step_statistics``, with the ``sums`` of an earlier run of the process where it goes on from them."""
        self.step_statistics = {
            name: torch.as_tensor(value, device=self.device) for name, value in (sums or {}).items()
        }

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Turns summed gradients into those of the mean over the step's scored positions, then clips them: their norm,
        or each value where ``gradient_clip_algorithm`` is ``value``. ``grad_norm`` is that before clipping."""
        assert self._window_count is not None, "no batch came before this optimizer step"
        count, self._window_count = self._window_count, None
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # Lightning leaves this to the step of a fused optimizer, which comes too late
        ranks = self.trainer.world_size
        if ranks > 1:
            count = count.clone()  # the tensor itself is also that of the statistics
            dist.all_reduce(count)
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        # DDP averages gradients over ranks; a step without any scored position keeps its zero gradients.
        scale = torch.where(count > 0, ranks / count, 0.0)
        torch._foreach_mul_([p.grad for p in parameters], scale.to(parameters[0].grad.dtype))
        by_value = gradient_clip_algorithm == "value"
        limit = gradient_clip_val or float("inf")
        norm = nn.utils.clip_grad_norm_(parameters, float("inf") if by_value else limit)
        if by_value:
            nn.utils.clip_grad_value_(parameters, limit)
        self.grad_norm = norm.full_tensor() if isinstance(norm, DTensor) else norm

    def configure_optimizers(self) -> Any:
        if self.optimize is None:
            raise RuntimeError(f"this {type(self).__name__} was built to be used: give it `optimize` to train it")
        return self.optimize(self)
