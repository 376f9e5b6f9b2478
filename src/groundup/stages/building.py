"""From a config to the parts of a run: data first, then the model that fits it, then the task."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys
from typing import cast

import torch

from groundup.config.build import instantiate
from groundup.config.places import resolve
from groundup.config.tree import Config
from groundup.data.datamodule import TextDataModule
from groundup.data.facts import Facts
from groundup.data.seeding import mix
from groundup.data.sources.source import Source
from groundup.errors import UserError
from groundup.models.backbone import Backbone
from groundup.runs.folder import RunFolder
from groundup.system.hardware import cores
from groundup.tasks.base import Optimization, Task
from groundup.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h of glibc
INITIALISATION = 1  # keeps the random numbers of the initial weights apart from those of the training steps
ADVICE = {
    "encoder": "model=transformer_encoder or model=bilstm_encoder",
    "decoder": "model=transformer_decoder or model=lstm_decoder",
    "encoder_decoder": "model=transformer_encoder_decoder or model=lstm_encoder_decoder",
}
KINDS = {"encoder": "an encoder", "decoder": "a decoder", "encoder_decoder": "an encoder-decoder"}


def prepare_process(threads: int | None, processes: int = 1) -> int:
    """Fixes the number of CPU threads: sums over another number of threads differ in the last bit.

    Args:
        threads: of this process; None: all cores, shared with the others.
        processes: that train together on this machine.

    Returns the number of threads. Also keeps freed memory for the next step, and quiets Lightning's notes.
    """
    quiet_lightning()
    if sys.platform == "linux":
        # Large tensors come and go at every step. Without these, each is fetched from the system and zeroed anew: 7 to
        # 10 % of a training step.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(M_MMAP_MAX, 0)
            ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    threads = threads or max(1, cores() // processes)
    torch.set_num_threads(threads)
    if processes > 1:
        log.info("%d processes on %d cores, %d thread%s each", processes, cores(), threads, "s" * (threads > 1))
    return threads


def quiet_lightning() -> None:
    """No notes on hardware that is not there; warnings stay."""
    lightning = logging.getLogger("lightning.pytorch")
    lightning.setLevel(logging.WARNING)
    lightning.handlers.clear()
    lightning.propagate = True


def check_model_fits(cfg: Config) -> None:
    """Raises UserError when the task needs another kind of model; before anything is read or built."""
    task, model = task_class(cfg), model_class(cfg)
    if model.kind not in task.accepts:
        choices = " or ".join(ADVICE[kind] for kind in task.accepts)
        needed = " or ".join(KINDS[kind] for kind in task.accepts)
        raise UserError(f"task={task_word(task)} needs {needed}, and {model.__name__} is not one. Try {choices}")


def model_class(cfg: Config) -> type[Backbone]:
    """The class of the config's model. Raises UserError for one that a config may not name."""
    return cast(type[Backbone], resolve(cfg.model._target_, "model"))


def task_class(cfg: Config) -> type[Task]:
    """The class of the config's task. Raises UserError for one that a config may not name."""
    return cast(type[Task], resolve(cfg.task._target_, "task"))


def task_word(task: type[Task]) -> str:
    """What the command line calls a task: the name of its file."""
    return task.__module__.rpartition(".")[2]


def build_data(
    cfg: Config,
    source: Source | None,
    tokenizer: Tokenizer | None = None,
    facts: Facts | None = None,
    target_tokenizer: Tokenizer | None = None,
) -> TextDataModule:
    """Rows, tokenizers and batches, ready to use. Tokenizers and facts of an earlier run go before the config's."""
    data = TextDataModule(
        source=source,
        tokenizer=tokenizer or instantiate(cfg.tokenizer, "tokenizer"),
        target_tokenizer=target_tokenizer
        or (instantiate(cfg.target_tokenizer, "target_tokenizer") if cfg.get("target_tokenizer") else None),
        batching=instantiate(cfg.batching, "batching"),
        cache_dir=cfg.paths.cache,
        seed=cfg.seed,
        num_workers=cfg.num_workers,
    )
    data.form, data.known = task_class(cfg).form_for(model_class(cfg).kind), facts
    if source is None:
        data.setup("predict")  # rows come later
    else:
        data.prepare_data()
    return data


def build_task(cfg: Config, facts: Facts) -> Task:
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
    sizes: dict[str, int | None] = {"vocab_size": facts.vocab_size}
    if model_class(cfg).kind == "encoder_decoder":
        sizes["target_vocab_size"] = facts.target_vocab_size
    model = instantiate(cfg.model, "model", **sizes)
    return instantiate(cfg.task, "task", model=model, facts=facts)


def connect(task: Task, data: TextDataModule) -> None:
    """Tells the data how the task makes batches, and the task how its output is spelled.

    Raises UserError when the data has longer sequences than the model has positions for.
    """
    data.check_lengths(task.model.max_length)
    data.collate = task.collator(data.tokenizer)
    task.tokenizer = data.target_tokenizer


def add_optimization(task: Task, cfg: Config, total_steps: int) -> None:
    """Tells the task how it is to be optimized."""
    task.optimization = Optimization(
        optimizer=instantiate(cfg.optimizer, "optimizer"),
        scheduler=instantiate(cfg.scheduler, "scheduler"),
        total_steps=total_steps,
        layer_decay=cfg.layer_decay,
        l1=cfg.l1,
    )


def saved_tokenizers(folder: RunFolder) -> tuple[Tokenizer | None, Tokenizer | None]:
    """The tokenizers of source and target that a run left; None for the target: the same."""
    source, target = (
        Tokenizer.load(file) if file.exists() else None for file in (folder.tokenizer, folder.target_tokenizer)
    )
    return source, target
