"""A finished run as objects again: ``load_run(folder)`` is all that a notebook, an evaluation or a server needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from groundup.data.facts import Facts
from groundup.data.tokenizer import Tokenizer
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.runs.checkpoints import load_checkpoint
from groundup.runs.reference import best_checkpoint, open_run
from groundup.stages.building import build_task
from groundup.tasks.base import Task


@dataclass
class LoadedRun:
    """A run folder opened: its config, its task with the best weights, its tokenizer and what it knew of the data."""

    folder: RunFolder
    config: DictConfig
    task: Task
    tokenizer: Tokenizer
    facts: Facts


def load_run(reference: str | Path, logs: str | Path = "logs") -> LoadedRun:
    """Opens a run folder, a checkpoint in one, or ``last``. The model is in evaluation mode, on the CPU.

    Raises UserError when there is no such run, when it has no checkpoint, or when the checkpoint is damaged.
    """
    folder = open_run(str(reference), Path(logs))
    config = OmegaConf.create(folder.read_config())
    if "model" not in config:
        raise UserError(f"{folder.path} is a run of `groundup {folder.status().get('stage')}` and holds no model")
    facts = Facts.from_dict(folder.read_json(folder.facts))
    task = build_task(config, facts)
    task.load_state_dict(load_checkpoint(best_checkpoint(folder))["state_dict"])
    return LoadedRun(folder, config, task.eval(), Tokenizer.load(folder.tokenizer), facts)


@dataclass
class Adopted:
    """Which weights a new run took from an earlier one, by name."""

    loaded: list[str]
    missing: list[str]  # in the new model, not in the earlier run
    unexpected: list[str]  # in the earlier run, not in the new model
    mismatched: list[str]  # in both, with another shape

    def line(self) -> str:
        """One line for the terminal."""
        heads = [name for name in (*self.missing, *self.mismatched)]
        return (
            f"{len(self.loaded)} tensors loaded, {len(self.missing)} new ({_shorten(heads)}), "
            f"{len(self.unexpected)} left behind ({_shorten(self.unexpected)}), {len(self.mismatched)} of another shape"
        )


def adopt_weights(task: Task, run: RunFolder) -> Adopted:
    """Copies what fits from an earlier run's best weights into ``task``.

    Every tensor of the body (``model.*``) must fit: a body half loaded is not a pretrained one. Heads may differ.

    Raises UserError when the body does not fit.
    """
    theirs: dict[str, torch.Tensor] = load_checkpoint(best_checkpoint(run))["state_dict"]
    ours = task.state_dict()
    fits = {name: value for name, value in theirs.items() if name in ours and ours[name].shape == value.shape}
    report = Adopted(
        loaded=sorted(fits),
        missing=sorted(ours.keys() - theirs.keys()),
        unexpected=sorted(theirs.keys() - ours.keys()),
        mismatched=sorted(name for name in ours.keys() & theirs.keys() if name not in fits),
    )
    wrong = [name for name in (*report.missing, *report.mismatched) if name.startswith("model.")]
    if wrong:
        raise UserError(
            f"init_from={run.path} has another architecture: {_shorten(wrong)} {'does' if len(wrong) == 1 else 'do'} not fit. "
            "Leave out model=... and size=... to take the architecture of the run"
        )
    task.load_state_dict({**ours, **fits})
    return report


def _shorten(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "") if names else "none"


def plain(config: DictConfig) -> dict[str, Any]:
    """A config as plain values, every interpolation resolved."""
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
