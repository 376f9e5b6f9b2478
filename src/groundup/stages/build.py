"""From a config to the parts of a run: data first, then the model that fits it, then the task."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import sys
from typing import cast

import torch

from groundup.baselines.baseline import Baseline
from groundup.config.build import instantiate
from groundup.config.files import conf_dir, groups, target_of
from groundup.config.places import resolve
from groundup.config.root import Lora
from groundup.config.signatures import OF_STAGE
from groundup.config.tree import Config
from groundup.data.facts import Facts
from groundup.data.seeding import mix
from groundup.data.sources.few_labels import Taught
from groundup.data.sources.folds import Fold
from groundup.data.sources.source import Source
from groundup.data.text_data import TextData
from groundup.errors import ArgumentError, UserError
from groundup.models.backbone import Backbone
from groundup.models.int8 import quantize
from groundup.models.lora import add_adapters
from groundup.runs.folder import RunFolder
from groundup.system.hardware import cores
from groundup.tasks.base import Task
from groundup.tasks.trainable import Optimize
from groundup.text.tokenizer import Tokenizer
from groundup.training.optimization import Optimization

log = logging.getLogger(__name__)
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h of glibc
INITIALISATION, ADAPTERS = 1, 2  # keep the random numbers of initial weights apart from those of the training steps
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
        choices = " or ".join(f"model={name}" for kind in task.accepts for name in models_of(kind))
        needed = " or ".join(KINDS[kind] for kind in task.accepts)
        if isinstance(parent := cfg.get("init_from"), str):
            choices = f"init_from of a run with one (such as {choices.partition(' or ')[0]}), not {parent}"
        raise UserError(f"task={task_word(task)} needs {needed}, and {model.__name__} is not one. Try {choices}")
    if cfg.model.get("characters") and not task.examples_for(model.kind, characters=True).spells:
        whose = f"{cfg.init_from} has model.characters" if isinstance(cfg.get("init_from"), str) else "model.characters"
        instead = "a run without" if isinstance(cfg.get("init_from"), str) else "model.characters=null"
        raise UserError(
            f"{whose}={cfg.model.characters}, for tasks that know where words begin, and task={task_word(task)} does not. "
            f"Try task=tagging, or {instead}"
        )


def check_baseline_fits(cfg: Config, choice: str | None) -> None:
    """Raises UserError when the classical model, or none, is chosen for a task that has others; before anything is read."""
    task = task_class(cfg)
    words = {task_word(one) for one in task.__mro__}
    if choice and not words.isdisjoint(baseline_class(cfg.baseline["_target_"]).tasks):
        return
    files = {name: conf_dir() / "baseline" / f"{name}.yaml" for name in groups(conf_dir())["baseline"]}
    fitting = [name for name, file in files.items() if not words.isdisjoint(baseline_class(target_of(file)).tasks)]
    if not fitting:
        raise UserError(f"task={task_word(task)} has no classical model yet")
    wrong = (
        f"baseline={choice} is not for task={task_word(task)}"
        if choice
        else f"task={task_word(task)}: no baseline is chosen"
    )
    raise UserError(f"{wrong}. Try baseline={' or baseline='.join(fitting)}")


def models_of(kind: str) -> list[str]:
    """The choices of ``model`` that are of a kind."""
    found = []
    for name in groups(conf_dir())["model"]:
        with contextlib.suppress(UserError):  # a class that the shell does not allow, which cannot be chosen
            if backbone_class(target_of(conf_dir() / "model" / f"{name}.yaml")).kind == kind:
                found.append(name)
    return found


def model_class(cfg: Config) -> type[Backbone]:
    """The class of the config's model. Raises UserError for one that a config may not name."""
    return backbone_class(cfg.model._target_)


def backbone_class(target: object) -> type[Backbone]:
    found = resolve(target, "model")
    if not issubclass(found, Backbone):  # one of the user's own
        raise UserError(
            f"model._target_ = {target}: it derives from no backbone. Derive it from EncoderBackbone or DecoderBackbone, "
            "of groundup.models.backbone"
        )
    return found


def baseline_class(target: object) -> type[Baseline]:
    """The class of a classical model. Raises UserError for one that a config may not name."""
    return cast(type[Baseline], resolve(target, "baseline"))


def task_class(cfg: Config) -> type[Task]:
    """The class of the config's task. Raises UserError for one that a config may not name."""
    return cast(type[Task], resolve(cfg.task._target_, "task"))


def task_word(task: type) -> str:
    """What the command line calls a task: the name of its file."""
    return task.__module__.rpartition(".")[2]


def source_of(cfg: Config) -> Source:
    """The rows of the config; with ``folds=5 fold=2`` those of the second fold are held out, in the place of validation.

    A student also has the rows that its teacher gave a class: ``self_training.labels``.

    Raises UserError for a fold that is none of them.
    """
    source = instantiate(cfg.data, "data")
    if cfg.get("fold"):
        if not isinstance(cfg.get("folds"), int):
            raise UserError(f"fold={cfg.fold}: of how many? Try folds=5 fold={cfg.fold}")
        source = Fold(source, cfg.folds, cfg.fold)
    labels = cfg.at("self_training.labels")
    return Taught(source, labels) if labels else source


def build_data(
    cfg: Config,
    source: Source | None,
    tokenizer: Tokenizer | None = None,
    target_tokenizer: Tokenizer | None = None,
    facts: Facts | None = None,
) -> TextData:
    """The text of ``source`` (None: of rows that come later) as the config's task and model read it.

    Tokenizers and facts of an earlier run go before the config's.
    """
    described = cfg.get("target_tokenizer")
    return TextData(
        source,
        task_class(cfg).examples_for(model_class(cfg).kind, bool(cfg.model.get("characters"))),
        tokenizer or instantiate(cfg.tokenizer, "tokenizer"),
        instantiate(cfg.batching, "batching"),
        cache_dir=cfg.paths.cache,
        seed=cfg.seed,
        target_tokenizer=target_tokenizer or (instantiate(described, "target_tokenizer") if described else None),
        facts=facts,
        apart=cfg.task.get("pair") == "apart",
    )


def build_task(
    cfg: Config, facts: Facts, tokenizer: Tokenizer, optimize: Optimize | None = None, adapted: bool = True
) -> Task:
    """A model with random weights that follow from the seed, in its task.

    Args:
        tokenizer: of what the task learns; of pairs, of the targets.
        optimize: None: the task is not to be trained.
        adapted: with the adapters of ``cfg.lora``.

    With ``cfg.int8`` the linear maps of its model are stored in eight bits: to be used, not trained.

    Raises UserError when task, model and data do not fit each other.
    """
    task_class(cfg).check_facts(facts)
    torch.manual_seed(mix(cfg.seed, INITIALISATION))
    sizes: dict[str, int | None] = {"vocab_size": facts.vocab_size}
    if model_class(cfg).kind == "encoder_decoder":
        sizes["target_vocab_size"] = facts.target_vocab_size
    node = {key: value for key, value in cfg.model.items() if key not in OF_STAGE["model"]}
    model = instantiate(node, "model", **sizes)
    task = instantiate(cfg.task, "task", model=model, facts=facts, tokenizer=tokenizer, optimize=optimize)
    if adapted:
        adapt(cfg, task)
    if cfg.get("int8"):
        quantize(task.model)
    return task


def adapt(cfg: Config, task: Task) -> None:
    """Freezes the task's model and adds the adapters of ``cfg.lora``, where this asks for any."""
    lora = Lora(**(cfg.get("lora") or {}))
    if lora.rank is None:
        return
    torch.manual_seed(mix(cfg.seed, ADAPTERS))
    try:
        add_adapters(task.model, lora.rank, lora.alpha, lora.dropout, lora.where, lora.train)
    except ArgumentError as error:
        raise UserError(error.at("lora")) from None


def build_optimization(cfg: Config, total_steps: int) -> Optimization:
    """How the config's task is trained for so many optimizer steps."""
    optimizer, scheduler = instantiate(cfg.optimizer, "optimizer"), instantiate(cfg.scheduler, "scheduler")
    return Optimization(optimizer, scheduler, total_steps, cfg.layer_decay, cfg.l1)


def saved_tokenizers(folder: RunFolder) -> tuple[Tokenizer | None, Tokenizer | None]:
    """The tokenizers of source and target that a run left; None for the target: the same."""
    source, target = (
        Tokenizer.load(file) if file.exists() else None for file in (folder.tokenizer, folder.target_tokenizer)
    )
    return source, target
