"""A finished run as objects again: ``load_run(folder)`` is all that a notebook, an evaluation or a server needs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from groundup.config.compose import as_config
from groundup.data.facts import Facts
from groundup.data.tokenizer import Tokenizer
from groundup.errors import UserError
from groundup.runs.checkpoints import load_checkpoint
from groundup.runs.folder import RunFolder
from groundup.runs.reference import best_checkpoint, open_run
from groundup.stages.building import build_task
from groundup.tasks.base import Task

TRAINED = ("pretrain", "finetune")  # stages whose runs hold a model


@dataclass
class LoadedRun:
    """A run folder opened: its config, its task with the best weights, its tokenizer and what it knew of the data."""

    folder: RunFolder
    config: DictConfig
    task: Task
    tokenizer: Tokenizer
    facts: Facts


def load_run(reference: str | os.PathLike[str], logs: str | os.PathLike[str] = "logs") -> LoadedRun:
    """Opens a run folder, a checkpoint in one, or ``last``. The model is in evaluation mode, on the CPU.

    Raises UserError when there is no such run, when it has no checkpoint, or when the checkpoint is damaged.
    """
    folder = open_run(reference, Path(logs), stage=TRAINED if str(reference) == "last" else None)
    config = as_config(folder.read_config())
    if "model" not in config:
        raise UserError(f"{folder.path} is a run of `groundup {folder.status().get('stage')}` and holds no model")
    checkpoint = load_checkpoint(best_checkpoint(folder))
    facts = Facts.from_dict(checkpoint["facts"])
    task = build_task(config, facts)
    task.load_state_dict(checkpoint["state_dict"])
    return LoadedRun(folder, config, task.eval(), Tokenizer.load(folder.tokenizer), facts)
