"""What a task is: what a subclass writes, what it may use, and the evaluation of a whole split during training."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, ClassVar, Literal

from torch import Tensor

from groundup.baselines.baseline import Baseline
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
from groundup.tasks.trainable import Optimize, Trainable
from groundup.text.tokenizer import Tokenizer

TaughtBy = Literal["rows", "batches"]
Writing = Generator[str, None, str | None]  # pieces of a text; at last a line to tell of it, or None
Read = Callable[[str], tuple[dict[str, Tensor], bool]]  # a text as a batch of one to answer, and whether it was cut


class Task(Trainable):
    """A model with a loss, metrics and predictions; one that is given ``optimize`` can be trained, see ``Trainable``.

    ``tokenizer``: of the text that is learned; of pairs, of the targets.

    A subclass is the whole contract of its task, in one file: it names the ``examples`` that rows become and the kinds of
    model that it ``accepts``, and writes ``collator``, ``loss``, ``evaluate_batch``, ``metrics`` and ``predict_batch``;
    then what it ``answers``, how it is described, shown, and compared with a ``classical`` model.
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
        check_backbone(model)
        if model.reads_characters and not self.examples_for(model.kind, characters=True).spells:
            raise UserError(f"{type(self).__name__} does not read words one by one: build the model without characters")
        super().__init__(model, optimize)
        self.facts = facts
        self.tokenizer = tokenizer
        self.validation: Results | None = None  # of the newest validation during training
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
        """Thresholds for programs that have the logits alone: the least probability with which each answer is given, or for spans the
        least score against no answer. Empty where the likeliest class is the answer."""
        return {}

    def probabilities(self, batch: dict[str, Tensor]) -> Tensor:
        """Of every class for each row (B, C). Raises UserError where a row has no class."""
        raise UserError(f"{type(self).__name__} tells no probabilities of classes. Use a run of task=classification")

    def choose(self, table: dict[str, Tensor], split: Split) -> None:
        """Chooses what is saved with the weights, such as thresholds, on the evaluated rows of the validation split. Called at each
        validation during training."""

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
        """Its answer to a batch of one, in words, and a function from any batch to how much speaks for that answer (B,).

        Raises UserError where an answer has no such score.
        """
        raise UserError(f"explain is for classes and numbers, not for {type(self).__name__}. Try explain=0")

    def across(self, results: Mapping[str, Results]) -> dict[str, Estimate]:
        """Figures for which something is fitted on one split and measured on another: ``{"test/...": Estimate}``."""
        return {}

    def generate(self, prompt: str, prefix: str, read: Read, decoding: Decoding, seed: int) -> Writing:
        """A text for ``prompt`` in pieces, as they become certain, and at last what is to be told of it. ``read`` makes a batch of a
        text.

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
