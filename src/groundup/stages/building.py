"""From a config to the parts of a run: data first, then the model that fits it, then the task."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import cast

import torch
from omegaconf import DictConfig

from groundup.config.safe import instantiate, resolve
from groundup.data.datamodule import TextDataModule
from groundup.data.facts import Facts
from groundup.data.seeding import mix
from groundup.data.sources.source import Source
from groundup.data.tokenizer import Tokenizer
from groundup.errors import UserError
from groundup.models.backbone import Backbone
from groundup.tasks.base import Optimization, Task

INITIALISATION = 1  # keeps the random numbers of the initial weights apart from those of the training steps
ADVICE = {
    "encoder": "model=transformer_encoder or model=bilstm_encoder",
    "decoder": "model=transformer_decoder or model=lstm_decoder",
}


def prepare_process(threads: int | None) -> int:
    """Fixes the number of CPU threads (None: all cores): sums over another number of threads differ in the last bit.

    Returns the number. Also quiets Lightning's notes on hardware that is not there; its warnings stay.
    """
    lightning = logging.getLogger("lightning.pytorch")
    lightning.setLevel(logging.WARNING)
    lightning.handlers.clear()
    lightning.propagate = True
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or cores)
    return threads or cores


def check_model_fits(cfg: DictConfig) -> None:
    """Raises UserError when the task needs another kind of model; before anything is read or built."""
    task, model = task_class(cfg), cast(type[Backbone], resolve(cfg.model._target_, "model._target_"))
    if model.kind not in task.accepts:
        choices = " or ".join(ADVICE[kind] for kind in task.accepts)
        needed = " or ".join(f"an {kind}" if kind == "encoder" else f"a {kind}" for kind in task.accepts)
        raise UserError(f"task={task_word(task)} needs {needed}, and {model.__name__} is not one. Try {choices}")


def task_class(cfg: DictConfig) -> type[Task]:
    """The class of the config's task. Raises UserError for one that a config may not name."""
    return cast(type[Task], resolve(cfg.task._target_, "task._target_"))


def task_word(task: type[Task]) -> str:
    """What the command line calls a task: the name of its file."""
    return task.__module__.rpartition(".")[2]


def build_data(
    cfg: DictConfig, source: Source | None, tokenizer: Tokenizer | None = None, facts: Facts | None = None
) -> TextDataModule:
    """Rows, tokenizer and batches, ready to use. The tokenizer and facts of an earlier run go before the config's."""
    data = TextDataModule(
        source=source,
        tokenizer=tokenizer or instantiate(cfg.tokenizer),
        batching=instantiate(cfg.batching),
        cache_dir=cfg.paths.cache,
        seed=cfg.seed,
        num_workers=cfg.num_workers,
    )
    data.form, data.known = task_class(cfg).form, facts
    if source is not None:
        data.prepare_data()
    return data


def build_task(cfg: DictConfig, facts: Facts) -> Task:
    """A model with random weights that follow from the seed, in its task.

    Raises UserError when task, model and data do not fit each other.
    """
    task = task_class(cfg)
    if task.form == "labelled" and len(facts.labels) < 2:
        found = f"only {facts.labels[0]!r}" if facts.labels else "no label"
        raise UserError(
            f"task={task_word(task)} needs at least two classes, but the training split has {found}. Try data.label=COLUMN"
        )
    torch.manual_seed(mix(cfg.seed, INITIALISATION))
    model = instantiate(cfg.model, vocab_size=facts.vocab_size)
    return instantiate(cfg.task, model=model, facts=facts)


def add_optimization(task: Task, cfg: DictConfig, total_steps: int) -> None:
    """Tells the task how it is to be optimized."""
    task.optimization = Optimization(
        optimizer=instantiate(cfg.optimizer),
        scheduler=instantiate(cfg.scheduler),
        total_steps=total_steps,
        layer_decay=cfg.layer_decay,
        l1=cfg.l1,
    )


def saved_tokenizer(file: Path | None) -> Tokenizer | None:
    """The tokenizer of a run that left one."""
    return Tokenizer.load(file) if file is not None and file.exists() else None
