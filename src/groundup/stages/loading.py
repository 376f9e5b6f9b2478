"""A finished run as objects again: ``load_run(folder)`` is all that a notebook, an evaluation or a server needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.facts import Facts
from groundup.data.roles import Row, roles
from groundup.data.sources.source import Source
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.runs.checkpoints import load_checkpoint, require_finite
from groundup.runs.folder import RunFolder
from groundup.runs.reference import Use, best_checkpoint, open_run
from groundup.stages.build import build_data, build_task, task_class
from groundup.stages.stored import check_config, check_stored
from groundup.tasks.base import Task
from groundup.text.clean import Clean
from groundup.text.tokenizer import Tokenizer

# What is built of a run to use it. Its callbacks, loggers and trainer are not even looked at.
NEEDED = ("model", "task", "data", "batching", "seed", "monitor")


@dataclass
class LoadedRun:
    """A run folder opened: its config, its task with the best weights, its tokenizers and what it knew of the data."""

    folder: RunFolder
    config: Config
    task: Task
    tokenizer: Tokenizer
    facts: Facts
    target_tokenizer: Tokenizer | None  # of what the task writes; None: the same

    @cached_property
    def data(self) -> TextData:
        """Makes batches of rows that come later."""
        return self.data_of(self.config, None)

    def data_of(self, config: Config, source: Source | None) -> TextData:
        """The text of ``source``, read as the run read its own."""
        return build_data(config, source, self.tokenizer, self.target_tokenizer, self.facts)

    @cached_property
    def clean(self) -> Clean | None:
        """What was done to every text before the run's tokenizer saw it."""
        settings = self.config.data.get("clean")
        return instantiate(settings, "data.clean") if settings else None

    @property
    def reads(self) -> tuple[str, ...]:
        """The roles of the texts that the task is given; ``facts.parts`` of them must be there."""
        return self.task.examples.reads

    def row(self, raw: Mapping[str, Any]) -> Row:
        """A row (role -> text) as training saw its rows: the way in of every text that the model is to answer."""
        needed = self.reads[: self.facts.parts]
        present = [role for role in self.reads if role in needed or raw.get(role) is not None]
        return roles(raw, {role: role for role in present}, self.clean, "the row")

    def text(self, text: str) -> str:
        """A text cleaned as the run's texts were."""
        return roles({"text": text}, {"text": "text"}, self.clean, "the text")["text"]

    def read(self, text: str) -> tuple[dict[str, Tensor], bool]:
        """A cleaned text as a batch of one to answer, and whether it was cut to fit."""
        loader, examples = self.data.rows_loader([{self.reads[0]: text}], self.task.collator())
        (batch,) = loader
        return batch, bool(examples.truncated_rows.any())


def load_run(
    reference: str | os.PathLike[str],
    logs: str | os.PathLike[str] = "logs",
    use: Use = "evaluate",
    decoding: Mapping[str, Any] | None = None,
) -> LoadedRun:
    """Opens a run folder, a checkpoint in one, or ``last``: the newest that can serve ``use``.

    The model is in evaluation mode, on the CPU. ``decoding``: how the task writes, instead of its own way.

    Raises UserError when there is no such run, when it has no checkpoint, or when the checkpoint is damaged; when
    ``decoding`` is given for a task that answers with no text.
    """
    folder = open_run(reference, Path(logs), use)
    # Where the run wrote, and in how many processes, is its own business.
    config = Config({**folder.read_config(), "paths": {"logs": str(logs), "cache": None}, "num_workers": 0})
    if "model" not in config:
        raise UserError(f"{folder.path} is a run of `groundup {folder.status().get('stage')}` and holds no model")
    check_config(folder, config, NEEDED)
    if decoding:
        kind = task_class(config)
        if kind.writes != "answer":
            raise UserError(
                f"decoding is for tasks that write a text, and {folder.path} was trained for {kind.__name__}. Leave it out"
            )
        config.put("task.decoding", decoding)
    file = best_checkpoint(folder)
    checkpoint = load_checkpoint(file)
    facts, tokenizer, target = check_stored(folder, config, checkpoint, file)
    require_finite(checkpoint["state_dict"], file)
    task = build_task(config, facts, target or tokenizer)
    task.load_state_dict(checkpoint["state_dict"])
    return LoadedRun(folder, config, task.eval(), tokenizer, facts, target)
