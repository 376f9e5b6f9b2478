"""From a config to the parts of a run: data first, then the model that fits it, then the task."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from hydra.utils import get_class
from omegaconf import DictConfig

from groundup.config.safe import instantiate
from groundup.data.datamodule import TextDataModule
from groundup.data.facts import Facts
from groundup.data.seeding import mix
from groundup.data.tokenizer import Tokenizer
from groundup.errors import UserError
from groundup.tasks.base import Optimization, Task

if TYPE_CHECKING:
    from groundup.runs.folder import RunFolder

INITIALISATION = 1  # keeps the random numbers of the initial weights apart from those of the training steps


def set_threads(cfg: DictConfig) -> int:
    """Fixes the number of CPU threads: sums over another number of threads differ in the last bit."""
    threads = cfg.threads or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    torch.set_num_threads(threads)
    return threads


def build_data(cfg: DictConfig, tokenizer_file: Path | None = None, facts: Facts | None = None) -> TextDataModule:
    """Rows, tokenizer and batches, ready to use. ``tokenizer_file`` and ``facts`` of an earlier run go before the config's."""
    task_class = get_class(cfg.task._target_)
    tokenizer = Tokenizer.load(tokenizer_file) if tokenizer_file else instantiate(cfg.tokenizer)
    data = TextDataModule(
        source=instantiate(cfg.data),
        tokenizer=tokenizer,
        batching=instantiate(cfg.batching),
        cache_dir=cfg.paths.cache,
        seed=cfg.seed,
        num_workers=cfg.num_workers,
        form=task_class.form,
        facts=facts,
    )
    data.prepare_data()
    data.setup()
    return data


def build_task(cfg: DictConfig, facts: Facts) -> Task:
    """A model with random weights that follow from the seed, in its task."""
    torch.manual_seed(mix(cfg.seed, INITIALISATION))
    model = instantiate(cfg.model, vocab_size=facts.vocab_size)
    task_class = get_class(cfg.task._target_)
    if model.kind not in task_class.accepts:
        raise UserError(
            f"task={_choice(task_class)} needs a model that is {' or '.join(task_class.accepts)}, but {type(model).__name__} "
            f"is {model.kind}. {_advice(task_class.accepts)}"
        )
    if task_class.form == "labelled" and len(facts.labels) < 2:
        raise UserError(
            f"task={_choice(task_class)} needs at least two classes, but the training split has "
            f"{'only ' + repr(facts.labels[0]) if facts.labels else 'no label column'}. Try data.label=COLUMN"
        )
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


def _choice(task_class: type) -> str:
    return task_class.__module__.rpartition(".")[2]


def _advice(accepts: tuple[str, ...]) -> str:
    names = {"encoder": "model=transformer_encoder or model=bilstm_encoder", "decoder": "model=transformer_decoder or model=lstm_decoder"}
    return "Try " + " or ".join(names[kind] for kind in accepts)


def parameter_count(task: Task) -> dict[str, Any]:
    """Parameters of the task, each counted once, and how many of them are trained."""
    parameters = list(task.parameters())
    return {"parameters": sum(p.numel() for p in parameters), "trainable": sum(p.numel() for p in parameters if p.requires_grad)}
