"""A run whose answers come from a network: its task with the best weights, its tokenizers and what it knew of the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor

from groundup.config.tree import Config
from groundup.data.facts import Facts
from groundup.data.roles import Row
from groundup.data.seeding import mix
from groundup.data.sources.source import Source
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.models.lora import merge, without_adapters
from groundup.runs.checkpoints import load_checkpoint, require_finite
from groundup.runs.folder import RunFolder
from groundup.runs.reference import best_checkpoint
from groundup.stages.answering import BATCHES, Answering, blocks
from groundup.stages.build import build_data, build_task, task_class
from groundup.stages.evaluation import NetworkScorer
from groundup.stages.stored import check_config, check_stored
from groundup.system.hardware import accelerator_here
from groundup.tasks.base import Task
from groundup.tasks.sequence_to_sequence import status_of
from groundup.text.tokenizer import Tokenizer

# What is built of a run to use it. Its callbacks, loggers and trainer are not even looked at.
NEEDED = ("model", "lora", "int8", "task", "data", "batching", "seed", "monitor")


class NetworkRun(Answering):
    """A network that was trained; ``target_tokenizer``: of what its task writes; None: the same."""

    def __init__(
        self,
        folder: RunFolder,
        config: Config,
        task: Task,
        tokenizer: Tokenizer,
        facts: Facts,
        target_tokenizer: Tokenizer | None,
    ) -> None:
        super().__init__(folder, config)
        self.task, self.tokenizer, self.facts, self.target_tokenizer = task, tokenizer, facts, target_tokenizer

    @classmethod
    def open(
        cls, folder: RunFolder, config: Config, decoding: Mapping[str, Any] | None = None, scheme: str | None = None
    ) -> NetworkRun:
        """The model in evaluation mode, on the CPU. ``decoding``: how the task writes, instead of its own way; ``scheme``: how
        tags spell entities.

        Raises UserError: it has no checkpoint, or a damaged one; ``decoding`` for a task that answers with no text, or
        ``scheme`` for one without tags.
        """
        check_config(folder, config, NEEDED)
        if decoding:
            kind = task_class(config)
            if kind.writes != "answer":
                raise UserError(
                    f"decoding is for tasks that write a text, and {folder.path} was trained for {kind.__name__}. "
                    "Leave it out"
                )
            config.put("task.decoding", decoding)
        if scheme:
            kind = task_class(config)
            if "scheme" not in signature(kind).parameters:
                raise UserError(
                    f"scheme={scheme} is for task=tagging, and {folder.path} was trained for {kind.__name__}. Leave it out"
                )
            config.put("task.scheme", scheme)
        file = best_checkpoint(folder)
        checkpoint = load_checkpoint(file)
        facts, tokenizer, target = check_stored(folder, config, checkpoint, file)
        require_finite(checkpoint["state_dict"], file)
        task = build_task(config, facts, target or tokenizer)
        task.load_state_dict(checkpoint["state_dict"])
        merge(task.model)
        return cls(folder, config, task.eval(), tokenizer, facts, target)

    def plain_weights(self) -> dict[str, Tensor]:
        """The tensors of its task as those of one without adapters (LoRA), which are merged into them."""
        weights, lora = self.task.state_dict(), self.config.get("lora") or {}
        return without_adapters(weights, lora["alpha"] / lora["rank"]) if lora.get("rank") else weights

    @property
    def name(self) -> str:
        return type(self.task.model).__name__

    @property
    def labels(self) -> tuple[str, ...]:
        return self.facts.labels

    @property
    def needed(self) -> tuple[str, ...]:
        return self.reads[: self.facts.parts]

    @cached_property
    def data(self) -> TextData:
        """Makes batches of rows that come later."""
        return self.data_of(self.config, None)

    def data_of(self, config: Config, source: Source | None) -> TextData:
        """The text of ``source``, read as the run read its own."""
        return build_data(config, source, self.tokenizer, self.target_tokenizer, self.facts)

    def scorer(self, config: Config, source: Source) -> NetworkScorer:
        return NetworkScorer(self.task, self.data_of(config, source))

    def read(self, text: str) -> tuple[dict[str, Tensor], bool]:
        """A cleaned text as a batch of one to answer, and whether it was cut to fit."""
        loader, examples = self.data.rows_loader([{self.reads[0]: text}], self.task.collator())
        (batch,) = loader
        return batch, bool(examples.truncated_rows.any())

    @torch.inference_mode()
    def probabilities(self, rows: Sequence[Row], accelerator: str = "cpu") -> np.ndarray:
        self.task.eval().to(device_of(accelerator))
        found = np.zeros((len(rows), len(self.labels)))
        for batch in self.data.rows_loader(rows, self.task.collator())[0] if rows else ():
            places = batch["index"].numpy()
            answers = self.task.probabilities({name: value.to(self.task.device) for name, value in batch.items()})
            found[places] = answers.double().cpu().numpy()
        return found

    def answer(
        self, rows: Iterable[Row], batch_size: int = 64, accelerator: str = "cpu", seed: int = 1, prefix: str = ""
    ) -> Iterator[dict[str, Any]]:
        self.task.eval().to(device_of(accelerator))
        first = 0
        for block in blocks((self.row(row) for row in rows), batch_size * BATCHES):
            yield from self._answers(block, first, batch_size, seed, prefix)
            first += len(block)

    @torch.inference_mode()
    def _answers(self, rows: list[Row], first: int, batch_size: int, seed: int, prefix: str) -> list[dict[str, Any]]:
        """Answers for rows that are numbered from ``first`` on, with their status."""
        task, writes = self.task, self.task.writes == "answer"
        answer: Any = task.predict_batch
        if prefix:
            answer = partial(answer, prefix=task.tokenizer.encode(self.text(prefix)))
        loader, examples = self.data.rows_loader(rows, task.collator(), batch_size)
        found: dict[int, dict[str, Any]] = {}
        for batch in loader:
            place = batch["index"].tolist()
            if writes:  # rows of their own number draw alike in every batch
                batch["index"] = torch.tensor([mix(seed, first + index) % 2**62 for index in place])
            answers = answer({name: value.to(task.device) for name, value in batch.items()})
            found.update(zip(place, answers, strict=True))
        parts: list[list[dict[str, Any]]] = [[] for _ in rows]
        numbers = np.arange(len(examples.lengths(training=False)))
        for index, row in enumerate(examples.rows_of(numbers).tolist()):
            parts[row].append(found[index])
        predictions = [task.joined(*pair) for pair in zip(parts, rows, strict=True)]
        about = zip(predictions, examples.statuses(rows), examples.unknown_tokens.tolist(), strict=True)
        for prediction, status, strange in about:
            if writes and status == "empty":  # a model would make something up
                prediction.clear()
                prediction["prediction"] = ""
            prediction["status"] = status_of(status, prediction.get("finished", True))
            if strange:
                prediction["unknown_tokens"] = strange
        return predictions


def device_of(accelerator: str) -> torch.device:
    """The device that Lightning's name of an accelerator stands for. Raises UserError when there is none."""
    if (here := accelerator_here(accelerator)) is None:
        raise UserError(f"accelerator={accelerator}: there is none here. Try accelerator=cpu")
    return torch.device(here)
