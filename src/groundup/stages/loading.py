"""A finished run as objects again: ``load_run(folder)`` is all that a notebook, an evaluation or a server needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.encoding import PAIR_ROLES, TEXT_ROLES
from groundup.data.facts import Facts
from groundup.data.roles import Row, roles
from groundup.decoding.decoding import Decoding
from groundup.errors import UserError
from groundup.runs.checkpoints import load_checkpoint, require_finite
from groundup.runs.folder import RunFolder
from groundup.runs.reference import Use, best_checkpoint, open_run
from groundup.stages.building import build_task, saved_tokenizers
from groundup.stages.stored import check_config, check_stored, check_tokenizers, stored_facts
from groundup.tasks.base import Task
from groundup.tasks.sequence_to_sequence import SequenceToSequence
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
    def clean(self) -> Clean | None:
        """What was done to every text before the run's tokenizer saw it."""
        settings = self.config.data.get("clean")
        return instantiate(settings, "data.clean") if settings else None

    @property
    def reads(self) -> tuple[str, ...]:
        """The roles of the texts that the task is given; only the first must be there."""
        return PAIR_ROLES[:1] if isinstance(self.task, SequenceToSequence) else TEXT_ROLES

    def row(self, raw: Mapping[str, Any]) -> Row:
        """A row (role -> text) as training saw its rows: the way in of every text that the model is to answer."""
        present = [role for role in self.reads if role == self.reads[0] or raw.get(role) is not None]
        return roles(raw, {role: role for role in present}, self.clean, "the row")

    def text(self, text: str) -> str:
        """A text cleaned as the run's texts were."""
        return roles({"text": text}, {"text": "text"}, self.clean, "the text")["text"]

    def decode_by(self, decoding: Decoding) -> None:
        """Writes texts by another method than the task's own. Raises UserError for a task that writes none."""
        if not isinstance(self.task, SequenceToSequence):
            raise UserError(
                f"decoding is for tasks that write a text, and {self.folder.path} was trained for "
                f"{type(self.task).__name__}. Leave it out"
            )
        self.task.decoding = decoding


def load_run(
    reference: str | os.PathLike[str], logs: str | os.PathLike[str] = "logs", use: Use = "evaluate"
) -> LoadedRun:
    """Opens a run folder, a checkpoint in one, or ``last``: the newest that can serve ``use``.

    The model is in evaluation mode, on the CPU.

    Raises UserError when there is no such run, when it has no checkpoint, or when the checkpoint is damaged.
    """
    folder = open_run(reference, Path(logs), use)
    # Where the run wrote, and in how many processes, is its own business.
    config = Config({**folder.read_config(), "paths": {"logs": str(logs), "cache": None}, "num_workers": 0})
    if "model" not in config:
        raise UserError(f"{folder.path} is a run of `groundup {folder.status().get('stage')}` and holds no model")
    check_config(folder, config, NEEDED)
    file = best_checkpoint(folder)
    checkpoint = load_checkpoint(file)
    check_tokenizers(folder, checkpoint, file)
    check_stored(config, checkpoint, file)
    require_finite(checkpoint["state_dict"], file)
    facts = stored_facts(checkpoint, file)
    task = build_task(config, facts)
    task.load_state_dict(checkpoint["state_dict"])
    tokenizer, target = saved_tokenizers(folder)
    assert tokenizer is not None
    task.tokenizer = target or tokenizer
    return LoadedRun(folder, config, task.eval(), tokenizer, facts, target)
