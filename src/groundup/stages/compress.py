"""``groundup compress``: a finished run made smaller, as a run folder of its own beside which the old one stands."""

from __future__ import annotations

import logging

from groundup.config.tree import Config
from groundup.data.text_data import TextData
from groundup.errors import ArgumentError, UserError
from groundup.models.int8 import quantize
from groundup.runs.checkpoints import BEST
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.reference import EARLIER, was_saved
from groundup.stages import train
from groundup.stages.beside import put_beside
from groundup.stages.build import build_task, prepare_process, source_of
from groundup.stages.loading import load_network
from groundup.stages.network import NetworkRun
from groundup.stages.prune import pruned
from groundup.tasks.base import Task
from groundup.training.resume import AtomicIO

log = logging.getLogger(__name__)
OF_TRAINING = (
    "teacher",
    "init_from",
    "folds",
    "fold",
    "self_training",
    "task_adaptive",
)  # what the origin's training had


def run(cfg: Config, job: Job) -> float:
    """Makes the run smaller, scores what came out, and returns the monitored metric."""
    if job.resuming and was_saved(job.folder):
        return go_on(cfg, job)
    threads = prepare_process(cfg.threads)
    origin = load_network(cfg.run, cfg.paths.logs, use="network")
    cfg.run = str(origin.folder.checkpoint or origin.folder.path)  # `last` will be this one
    config = config_of_smaller(origin, cfg)
    config.threads = threads
    data = origin.data_of(config, source_of(config))
    task = plain_task(origin, config)
    if cfg.method == "quantize":
        task = quantized(task, config)
    else:
        task = pruned(task, config, data, cfg.amount, cfg.structured)
        if cfg.recover:
            value = recovered(task, config, job, data, cfg.recover)
            put_beside(job.folder, origin, config, "the run", "pruned")
            return value
    for split in data.source.splits():
        data.examples(split)  # which rows they were is kept, as of a training
    train.describe(config, job.folder, data, task)
    save(job.folder, task)
    value = train.conclude(config, job.folder, data)
    put_beside(job.folder, origin, config, "the run", f"{cfg.method}d")
    return value


def go_on(cfg: Config, job: Job) -> float:
    """The training after pruning, from where it was interrupted; the origin may be gone by now."""
    config = Config({**job.folder.read_config(), "paths": cfg.paths})
    value = train.run(config, job)
    try:
        origin = load_network(cfg.run, cfg.paths.logs, use="network")
    except UserError as error:
        log.warning("nothing stands beside the pruned run: %s", error)
    else:
        put_beside(job.folder, origin, config, "the run", "pruned")
    return value


def config_of_smaller(origin: NetworkRun, cfg: Config) -> Config:
    """The origin's configuration for the run that is made of it, with what ``compress`` was told.

    Raises UserError where it is small already, and where it does not say what it was trained on.
    """
    if origin.config.get("int8"):
        raise UserError(f"{origin.folder.path} is quantized already. Try a run that is not")
    if "trainer" not in origin.config:
        raise UserError(
            f"{origin.folder.path} was not trained here, so there is nothing to score it on. Train it first: "
            f"groundup finetune init_from={origin.folder.path}"
        )
    kept = {key: value for key, value in origin.config.items() if key not in OF_TRAINING}
    return Config({**kept, **cfg, "lora": None})


def plain_task(origin: NetworkRun, config: Config) -> Task:
    """The origin's task with its weights, adapters merged into them."""
    task = build_task(config, origin.facts, origin.target_tokenizer or origin.tokenizer)
    task.load_state_dict(origin.plain_weights())
    return task.eval()


def quantized(task: Task, config: Config) -> Task:
    """The task in eight bits; ``config`` says so from then on. Raises UserError where nothing can be quantized."""
    try:
        quantize(task.model)
    except ArgumentError as error:
        raise UserError(f"method=quantize: {error}. Try a run of a Transformer") from None
    config.int8 = True
    return task


def recovered(task: Task, config: Config, job: Job, data: TextData, steps: int) -> float:
    """Trains the pruned task on, as the origin was trained; what was pruned is kept as a run below the folder.

    Returns the monitored metric.
    """
    before = RunFolder(job.folder.path / EARLIER / "pruned")
    before.path.mkdir(parents=True, exist_ok=True)
    train.describe(config, before, data, task)
    save(before, task)
    before.set_status("done", stage="compress")
    log.info("recovery: %d steps, from %s", steps, before.path)
    config.init_from = str(before.path)
    config.budget = {"steps": steps, "tokens": None, "epochs": None, "minutes": None}
    return train.run(config, job)


def save(folder: RunFolder, task: Task) -> None:
    """Writes the weights as a training does its best ones: tensors and plain values."""
    content = {"state_dict": task.state_dict(), "facts": task.facts.as_dict()}
    AtomicIO().save_checkpoint(content, folder.checkpoints / BEST)
