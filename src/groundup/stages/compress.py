"""``groundup compress``: a finished run made smaller, as a run folder of its own beside which the old one stands."""

from __future__ import annotations

from groundup.config.tree import Config
from groundup.errors import ArgumentError, UserError
from groundup.models.int8 import quantize
from groundup.models.lora import without_adapters
from groundup.runs.checkpoints import BEST
from groundup.runs.job import Job
from groundup.stages.beside import put_beside
from groundup.stages.build import build_task, prepare_process, source_of
from groundup.stages.loading import load_network
from groundup.stages.network import NetworkRun
from groundup.stages.train import conclude, describe
from groundup.tasks.base import Task
from groundup.training.resume import AtomicIO

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
    threads = prepare_process(cfg.threads)
    origin = load_network(cfg.run, cfg.paths.logs, use="evaluate")
    cfg.run = str(origin.folder.checkpoint or origin.folder.path)  # `last` will be this one
    config = config_of_smaller(origin, cfg)
    config.threads = threads
    source = source_of(config)
    data = origin.data_of(config, source)
    task = quantized(origin, config)
    describe(config, job.folder, data, task)
    save(job, task)
    value = conclude(config, job.folder, data)
    put_beside(job.folder, origin, config, "the run", "quantized")
    return value


def config_of_smaller(origin: NetworkRun, cfg: Config) -> Config:
    """The origin's configuration for the run that is made of it.

    Raises UserError where it is small already, and where it does not say what it was trained on.
    """
    if origin.config.get("int8"):
        raise UserError(f"{origin.folder.path} is quantized already. Try a run that is not")
    if "trainer" not in origin.config:
        raise UserError(
            f"{origin.folder.path} was not trained here, so there is nothing to score it on. Try groundup finetune init_from=it first"
        )
    kept = {key: value for key, value in origin.config.items() if key not in OF_TRAINING}
    return Config({**kept, "paths": cfg.paths, "lora": None, "run": cfg.run, "method": cfg.method})


def plain_task(origin: NetworkRun, config: Config) -> Task:
    """The origin's task with its weights, adapters merged into them."""
    task = build_task(config, origin.facts, origin.target_tokenizer or origin.tokenizer)
    lora = origin.config.get("lora") or {}
    weights = origin.task.state_dict()
    if lora.get("rank"):
        weights = without_adapters(weights, lora["alpha"] / lora["rank"])
    task.load_state_dict(weights)
    return task.eval()


def quantized(origin: NetworkRun, config: Config) -> Task:
    """The origin's task in eight bits; ``config`` says so from then on. Raises UserError where nothing can be quantized."""
    task = plain_task(origin, config)
    try:
        quantize(task.model)
    except ArgumentError as error:
        raise UserError(f"method=quantize: {error}. Try a run of a Transformer") from None
    config.int8 = True
    return task


def save(job: Job, task: Task) -> None:
    """Writes the weights as a training does its best ones: tensors and plain values."""
    content = {"state_dict": task.state_dict(), "facts": task.facts.as_dict()}
    AtomicIO().save_checkpoint(content, job.folder.checkpoints / BEST)
