"""What every task shares: the loss over a whole optimizer step, and evaluation over a whole split."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from groundup.data.collate import IGNORE
from groundup.data.datamodule import TextDataModule
from groundup.data.facts import Facts
from groundup.data.loading import Collate
from groundup.errors import UserError
from groundup.metrics.estimate import Estimate, Metric
from groundup.metrics.sections import Section
from groundup.models.backbone import Backbone, check_backbone
from groundup.tasks.evaluated import Split, gather_rows
from groundup.text.tokenizer import Tokenizer
from groundup.training.groups import parameter_groups, shrink, table

log = logging.getLogger(__name__)


@dataclass
class Loss:
    """A loss before averaging.

    ``total`` () is the sum over scored positions, ``count`` () how many there are (or the sum of their weights).
    ``plain`` () is what is reported where it is not what is trained on: without label smoothing.
    """

    total: Tensor
    count: Tensor
    plain: Tensor | None = None


@dataclass
class Optimization:
    """How a task is optimized: everything Lightning asks for in ``configure_optimizers``."""

    optimizer: Callable[..., torch.optim.Optimizer]  # takes parameter groups
    scheduler: Callable[..., Any]  # takes (optimizer, total_steps=...)
    total_steps: int
    layer_decay: float = 1.0
    l1: float = 0.0


class Task(LightningModule):
    """A model with a loss, metrics and predictions.

    A subclass names the ``form`` that turns rows into examples, and writes ``collator``, ``loss``, ``evaluate_batch``,
    ``metrics`` and ``predict_batch``; one that writes text finds the ``tokenizer`` of its output. The gradient of an
    optimizer step is that of the sum of the losses of all scored positions, in all micro-batches and on all ranks,
    divided by their number: splitting a batch changes nothing.
    """

    form: ClassVar[
        str
    ]  # "packed" (a stream of text), "labelled" (one example a row), "paired" or "prompted" (a pair a row)
    columns: ClassVar[tuple[str, ...]] = ("text",)  # roles of the columns that it learns from
    accepts: ClassVar[tuple[str, ...]] = ("encoder", "decoder")  # kinds of model
    answers: ClassVar[tuple[str, ...]] = ()  # what ``predict_batch`` tells of a row; empty: nothing of a text by itself
    reports: ClassVar[tuple[Metric, ...]] = ()  # what ``metrics`` measures; a run may monitor each that has a direction
    label_tensors: ClassVar[frozenset[str]] = frozenset()  # names of parameters with a row for each label
    baselines_are_trained: ClassVar[bool] = True  # so that they take time, and must be asked for
    tokenizer: Tokenizer | None = None  # of what the task writes; set before evaluation

    def __init__(self, model: Backbone, facts: Facts) -> None:
        super().__init__()
        check_backbone(model)
        self.model = model
        self.facts = facts
        self.optimization: Optimization | None = None
        self.evaluating: Split | None = None
        self.resamples = 0  # bootstrap samples behind the intervals: at the final evaluation, not at each validation
        self.results: dict[str, Estimate] = {}
        self.predictions: list[dict[str, Any]] = []
        self.grad_norm: Tensor | None = None
        self.step_statistics: dict[str, Tensor] = {}  # "loss" and "count" since a callback last took them
        self._window_count: Tensor | None = None
        self._evaluated: list[dict[str, Tensor]] = []

    # What a subclass writes

    def collator(self, tokenizer: Tokenizer) -> Collate:
        """A small picklable object that makes a batch from examples and one seed for each.

        For ``predict_batch`` the examples have no labels.
        """
        raise NotImplementedError

    @classmethod
    def form_for(cls, kind: str) -> str:
        """The form of examples for a kind of model."""
        return cls.form

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        """The loss to train on."""
        raise NotImplementedError

    def evaluate_batch(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What metrics need of each row: tensors whose first dimension is the batch."""
        raise NotImplementedError

    def metrics(self, table: dict[str, Tensor], split: Split) -> dict[str, Estimate]:
        """Metrics of a whole split, from ``evaluate_batch``'s rows in the split's order."""
        raise NotImplementedError

    def predict_batch(self, batch: dict[str, Tensor]) -> list[dict[str, Any]]:
        """One plain dict a row, for ``groundup predict``."""
        raise NotImplementedError

    def describe(self, table: dict[str, Tensor], split: Split) -> list[dict[str, Any]]:
        """Predictions of an evaluated split, one plain dict a row; empty where a task has none."""
        return []

    def sections(self, rows: list[dict[str, Any]], data: TextDataModule, split: str) -> list[Section]:
        """What the report shows of a split: of ``rows``, its predictions with their texts, and of the model on it."""
        return []

    def baselines(self, data: TextDataModule, split: str) -> dict[str, dict[str, Estimate]]:
        """Classical answers to the same task, by name: their metrics on a split. Empty where there are none."""
        return {}

    # What a subclass may use

    @property
    def final(self) -> bool:
        """Whether this is the evaluation whose figures stay, not one of those during training."""
        return self.resamples > 0

    def hidden_states(self, batch: dict[str, Tensor]) -> Tensor:
        """Hidden vectors of all positions that have labels (B, T, D); a decoder's state or memory is left out."""
        if "decoder_input_ids" in batch:
            hidden = self.model(batch["input_ids"], batch["decoder_input_ids"], batch.get("attention_mask"))
        else:
            hidden = self.model(
                batch["input_ids"],
                attention_mask=batch.get("attention_mask"),
                position_ids=batch.get("position_ids"),
                document_ids=batch.get("document_ids"),
            )
        return hidden[0] if isinstance(hidden, tuple) else hidden

    # Training

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
        chosen = self.optimization
        assert chosen is not None, "set task.optimization before fitting"
        keywords = getattr(chosen.optimizer, "keywords", {})
        groups = parameter_groups(
            self,
            lr=keywords["lr"],
            weight_decay=keywords.get("weight_decay", 0.0),
            layer_decay=chosen.layer_decay,
            log_table=False,
        )
        optimizer = chosen.optimizer(groups)
        # After the optimizer is made, because it may give kinds rates of their own.
        log.info("%s", table(optimizer.param_groups), extra={"log_only": True})
        if chosen.l1 > 0:
            optimizer.register_step_post_hook(lambda optimizer, *_: shrink(optimizer.param_groups, chosen.l1))
        scheduler = chosen.scheduler(optimizer, total_steps=chosen.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    # Evaluation

    def on_validation_epoch_start(self) -> None:
        self._begin("validation")

    def on_test_epoch_start(self) -> None:
        self._begin("test")

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        self._evaluated.append(self._rows(batch))

    def test_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        self._evaluated.append(self._rows(batch))

    def on_validation_epoch_end(self) -> None:
        self._conclude()

    def on_test_epoch_end(self) -> None:
        self._conclude()

    def _begin(self, split: str) -> None:
        self._evaluated = []
        self.evaluating = Split(self.trainer.datamodule, split)  # type: ignore[attr-defined]  # Lightning does not declare it

    def _rows(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.cpu() for name, value in {"index": batch["index"], **self.evaluate_batch(batch)}.items()}

    def _conclude(self) -> None:
        split, self.evaluating = self.evaluating, None
        assert split is not None
        table, self._evaluated = gather_rows(self._evaluated, self.trainer.world_size), []
        self.results = self.metrics(table, split)
        self.predictions = self.describe(table, split)
        values = {f"{split.name}/{name}": estimate.value for name, estimate in self.results.items()}
        # logger=False: Lightning's own step counter drifts after a resume with accumulation (resume facts), ours does not.
        self.log_dict(values, logger=False, rank_zero_only=False)
        for logger in self.trainer.loggers:
            logger.log_metrics(values, step=self.trainer.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["facts"] = self.facts.as_dict()
