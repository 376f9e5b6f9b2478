"""What every task shares: the loss over a whole optimizer step, and evaluation over a whole split."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from groundup.baselines.baseline import Baseline
from groundup.data.collate import IGNORE
from groundup.data.examples import Examples
from groundup.data.facts import Facts
from groundup.data.loading import Collate
from groundup.data.roles import Row
from groundup.data.text_data import TextData
from groundup.decoding.decoding import Decoding
from groundup.errors import UserError
from groundup.metrics.estimate import Estimate, Metric
from groundup.metrics.paired import Judged
from groundup.metrics.sections import Section
from groundup.models.backbone import Backbone, check_backbone
from groundup.tasks.evaluation import Evaluation, Results, Split
from groundup.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)


TaughtBy = Literal["rows", "batches"]
Writing = Generator[str, None, str | None]  # pieces of a text; at last a line to tell of it, or None
Read = Callable[[str], tuple[dict[str, Tensor], bool]]  # a text as a batch of one to answer, and whether it was cut


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


class Task(LightningModule):
    """A model with a loss, metrics and predictions; one that is given ``optimize`` can be trained.

    ``tokenizer``: of the text that is learned; of pairs, of the targets.

    A subclass is the whole contract of its task, in one file: it names the ``examples`` that rows become and the kinds of
    model that it ``accepts``, and writes ``collator``, ``loss``, ``evaluate_batch``, ``metrics`` and ``predict_batch``;
    then what it ``answers``, how it is described, shown, and compared with a ``classical`` model.

    The gradient of an optimizer step is that of the sum of the losses of all scored positions, in all micro-batches and
    on all ranks, divided by their number: splitting a batch changes nothing.
    """

    examples: ClassVar[type[Examples]]
    columns: ClassVar[tuple[str, ...]] = ("text",)  # roles of the columns that it learns from
    accepts: ClassVar[tuple[str, ...]] = ("encoder", "decoder")  # kinds of model
    answers: ClassVar[tuple[str, ...]] = ()  # what ``predict_batch`` tells of a row; empty: nothing of a text by itself
    writes: ClassVar[Literal["answer", "continuation"] | None] = None  # a text for each source, or on from a prompt
    reports: tuple[Metric, ...] = ()  # what ``metrics`` measures; a run may monitor each that has a direction
    per_token: ClassVar[tuple[Metric, ...]] = ()  # of these, what runs with different tokenizers cannot be compared in
    # How a teacher tells its ``Loss.logits``: of each row, once and in its own tokens; or of each batch of training, as a
    # network of this task. None: there is nothing to be taught by.
    taught_by: TaughtBy | None = None
    label_tensors: ClassVar[frozenset[str]] = frozenset()  # names of parameters with a row for each label
    label_squares: ClassVar[frozenset[str]] = frozenset()  # and of those with a row and a column for each

    def __init__(self, model: Backbone, facts: Facts, tokenizer: Tokenizer, optimize: Optimize | None = None) -> None:
        super().__init__()
        check_backbone(model)
        if model.reads_characters and not self.examples_for(model.kind, characters=True).spells:
            raise UserError(f"{type(self).__name__} does not read words one by one: build the model without characters")
        self.model = model
        self.facts = facts
        self.tokenizer = tokenizer
        self.optimize = optimize
        self.validation: Results | None = None  # of the newest validation during training
        self.grad_norm: Tensor | None = None
        self.step_statistics: dict[str, Tensor] = {}  # "loss" and "count" since a callback last took them
        self._window_count: Tensor | None = None
        self._evaluation: Evaluation | None = None

    # What a subclass writes

    @classmethod
    def examples_for(cls, kind: str, characters: bool = False) -> type[Examples]:
        """The examples for a kind of model; ``characters``: for one that reads how words are spelled, where there are such."""
        return cls.examples

    @classmethod
    def check_facts(cls, facts: Facts) -> None:
        """Raises UserError where the data cannot be learned from."""

    def check_data(self, data: TextData) -> None:
        """Raises UserError for open splits that the options of the task do not fit; the log says what fits badly."""
        return

    def collator(self) -> Collate:
        """A small picklable object that makes a batch from examples and one seed for each.

        For ``predict_batch`` the examples have no labels.
        """
        raise NotImplementedError

    def loss(self, batch: dict[str, Tensor]) -> Loss:
        """The loss to train on."""
        raise NotImplementedError

    def evaluate_batch(self, batch: dict[str, Tensor], split: Split) -> dict[str, Tensor]:
        """What metrics need of each row: tensors whose first dimension is the batch."""
        raise NotImplementedError

    def metrics(self, table: dict[str, Tensor], split: Split) -> dict[str, Estimate]:
        """Metrics of a whole split, from ``evaluate_batch``'s rows in the split's order."""
        raise NotImplementedError

    def predict_batch(self, batch: dict[str, Tensor]) -> list[dict[str, Any]]:
        """One plain dict an example, for ``groundup predict``."""
        raise NotImplementedError

    graph_inputs: ClassVar[tuple[str, ...]] = ("input_ids", "attention_mask")  # what ``graph`` reads, each (B, T)

    def graph(self, batch: dict[str, Tensor]) -> Tensor:
        """What an exported graph of it computes of a batch, float32. Raises UserError where it has none."""
        raise UserError(
            f"a run of {type(self).__name__} cannot be exported as onnx. Use one of an encoder or a decoder"
        )

    def decision_thresholds(self) -> dict[str, float]:
        """Of each answer that is given by itself, the least probability (of a span the least score against no answer) with
        which it is given, for programs that have the logits alone. Empty where the likeliest is the answer."""
        return {}

    def probabilities(self, batch: dict[str, Tensor]) -> Tensor:
        """Of every class for each row (B, C). Raises UserError where a row has no class."""
        raise UserError(f"{type(self).__name__} tells no probabilities of classes. Use a run of task=classification")

    def choose(self, table: dict[str, Tensor], split: Split) -> None:
        """Sets what is chosen on the validation split and saved with the weights, such as thresholds, from its
        ``evaluate_batch``'s rows; called at each validation during training."""

    def joined(self, answers: Sequence[dict[str, Any]], row: Row) -> dict[str, Any]:
        """The answer to a row, from those of ``predict_batch`` for the examples that were made of it: there is one."""
        (answer,) = answers
        return answer

    def describe(self, table: dict[str, Tensor], split: Split) -> list[dict[str, Any]]:
        """Predictions of an evaluated split, one plain dict a row; empty where a task has none.

        ``index`` is the number of the row of the data; where a text is judged by other parts, each brings its ``text``.
        """
        return []

    @classmethod
    def judge(cls, rows: Sequence[Mapping[str, Any]]) -> Judged | None:
        """What predictions are worth, row by row, for ``groundup compare``; None where a task has none.

        ``rows``: as in ``predictions.jsonl``; those of several systems may stand one after the other.
        """
        return None

    def answer_score(self, batch: dict[str, Tensor]) -> tuple[str, Callable[[dict[str, Tensor]], Tensor]]:
        """Its answer to a batch of one, in words, and how much speaks for that answer in any batch: a function to (B,).

        Raises UserError where an answer has no such score.
        """
        raise UserError(f"explain is for classes and numbers, not for {type(self).__name__}. Try explain=0")

    def across(self, results: Mapping[str, Results]) -> dict[str, Estimate]:
        """Figures for which something is fitted on one split and measured on another: ``{"test/...": Estimate}``."""
        return {}

    def generate(self, prompt: str, prefix: str, read: Read, decoding: Decoding, seed: int) -> Writing:
        """A text for ``prompt`` in pieces, as they become certain, and what is to be told of it. ``read`` makes a row to answer
        a batch.

        Raises UserError when the task does not write, or not in this way.
        """
        raise UserError(f"a run of {type(self).__name__} writes no text. Use one of `groundup pretrain task=causal_lm`")

    def sections(self, rows: list[dict[str, Any]], data: TextData, split: str) -> list[Section]:
        """What the report shows of a split: of ``rows``, its predictions with their texts, and of the model on it."""
        return []

    def classical(self) -> Baseline | None:
        """The classical model that stands beside its results; None where there is none."""
        return None

    # What a subclass may use

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
                **({"characters": batch["characters"]} if self.model.reads_characters else {}),
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

    # Validation during training

    def on_validation_epoch_start(self) -> None:
        data: TextData = self.trainer.datamodule.data  # type: ignore[attr-defined]  # Lightning does not declare it
        self._evaluation = Evaluation(self, Split(data, "validation", final=False))

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        assert self._evaluation is not None  # made above
        self._evaluation.add(batch)

    def on_validation_epoch_end(self) -> None:
        assert self._evaluation is not None
        table = self._evaluation.table(self.trainer.world_size)
        self.choose(table, self._evaluation.split)
        self.validation, self._evaluation = self._evaluation.results(table), None
        values = {f"validation/{name}": estimate.value for name, estimate in self.validation.metrics.items()}
        # logger=False: Lightning's own step counter drifts after a resume with accumulation (resume facts), ours does not.
        self.log_dict(values, logger=False, rank_zero_only=False)
        for logger in self.trainer.loggers:
            logger.log_metrics(values, step=self.trainer.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["facts"] = self.facts.as_dict()
