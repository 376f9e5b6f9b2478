"""A training run that is built from a configuration but not started, to be timed step by step."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from groundup.config.build import instantiate
from groundup.config.compose import compose
from groundup.config.tree import Config
from groundup.data.text_data import TextData
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.loggers import close_loggers, open_loggers
from groundup.stages.build import build_data, build_optimization, build_task, prepare_process
from groundup.stages.inheritance import inherit, inherited_tokenizers, open_parents
from groundup.stages.inherited_weights import adopt_weights
from groundup.stages.logged import wanted_loggers
from groundup.stages.train import run_training
from groundup.tasks.base import Task


class Enough(BaseException):
    """Raised from a training step when there is nothing left to measure."""


@dataclass
class Built:
    """What ``groundup STAGE OVERRIDES`` would train, with its default callbacks and loggers."""

    cfg: Config
    job: Job
    data: TextData
    task: Task
    steps: int

    def fit(self) -> None:
        """Trains as the command does, until a step raises ``Enough`` or the budget is spent."""
        loggers = open_loggers(self.job.folder, wanted_loggers(self.cfg, self.job), None)
        with contextlib.suppress(Enough):
            run_training(self.cfg, self.job, self.data, self.task, self.steps, loggers, None, None)
        close_loggers(loggers, 0)


def build(stage: str, overrides: list[str], folder: Path, steps: int) -> Built:
    """The run of ``groundup STAGE OVERRIDES budget.steps=STEPS``; validation waits until the end."""
    cfg = compose(stage, [*overrides, f"budget.steps={steps}", f"validate_every={steps}"])
    prepare_process(cfg.threads)
    parents = open_parents(cfg)
    inherit(cfg, parents, overrides)
    run = RunFolder(folder)
    run.write_config(cfg)  # W&B reads it
    data = build_data(cfg, instantiate(cfg.data, "data"), *inherited_tokenizers(cfg, parents))
    task = build_task(cfg, data.facts, data.target_tokenizer, build_optimization(cfg, steps))
    adopt_weights(task, parents)
    return Built(cfg, Job(stage, run), data, task, steps)
