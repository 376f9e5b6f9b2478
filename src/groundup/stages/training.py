"""The recipe of pretraining and fine-tuning: data, model, weights, training, evaluation, report."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf, open_dict

from groundup.config.job import Job
from groundup.config.safe import instantiate
from groundup.data.datamodule import TextDataModule
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.runs.loggers import CsvLogger, wandb_logger
from groundup.runs.provenance import collect
from groundup.runs.checkpoints import load_checkpoint
from groundup.runs.reference import best_checkpoint, last_checkpoint, open_run
from groundup.runs.report import write_report
from groundup.stages.building import add_optimization, build_data, build_task, parameter_count, set_threads
from groundup.stages.evaluation import evaluate, write_results
from groundup.stages.loading import adopt_weights, plain
from groundup.tasks.base import Task
from groundup.training.budget import to_steps
from groundup.training.checkpoints import AtomicIO, Checkpoints
from groundup.training.resume import ExactResume

log = logging.getLogger(__name__)

INHERITED = ("model", "size", "tokenizer")  # what init_from takes from the earlier run


def train(cfg: DictConfig, job: Job) -> float:
    """Trains as the config says, evaluates the best checkpoint, and returns the monitored metric."""
    threads = set_threads(cfg)
    parent = open_run(cfg.init_from, Path(cfg.paths.logs)) if cfg.init_from and not job.resuming else None
    if parent:
        inherit(cfg, parent, job.overrides)

    data = build_data(cfg, tokenizer_file=_tokenizer_file(job, parent))
    task = build_task(cfg, data.facts)
    data.collate = task.collator(data.tokenizer)
    if parent:
        log.info("init_from %s: %s", parent.path, adopt_weights(task, parent).line())

    steps, how = to_steps(cfg.budget, cfg.trainer.accumulate_grad_batches, data, task)
    add_optimization(task, cfg, steps)
    data.total_batches = steps * cfg.trainer.accumulate_grad_batches
    with open_dict(cfg):
        cfg.threads, cfg.budget = threads, {"steps": steps, "tokens": None, "epochs": None, "minutes": None}
    if job.is_main:
        describe(cfg, job, data, task, how)

    fit(cfg, job, data, task, steps)
    if not job.is_main:  # the other ranks trained their share; one process evaluates
        return float("nan")
    return conclude(cfg, job, data, task)


def inherit(cfg: DictConfig, parent: RunFolder, overrides: list[str]) -> None:
    """Takes architecture and tokenizer from the run that weights come from.

    Raises UserError when the command line asks for another architecture or tokenizer.
    """
    theirs = OmegaConf.create(parent.read_config())
    if "model" not in theirs:
        raise UserError(f"init_from={parent.path} holds no model: it is a run of `groundup {parent.status().get('stage')}`")
    named = {key: value for key, _, value in (override.partition("=") for override in overrides) if key in INHERITED}
    for group, choice in named.items():
        mine, saved = cfg[group], theirs[group]
        if OmegaConf.to_container(mine, resolve=True) != OmegaConf.to_container(saved, resolve=True):
            raise UserError(
                f"{group}={choice} differs from the {group} of init_from={parent.path}. Leave out {group}=... : it comes with the run"
            )
    changes = {group: dict(_leaves(overrides, group)) for group in INHERITED}
    with open_dict(cfg):
        for group in INHERITED:
            cfg[group] = OmegaConf.merge(theirs[group], OmegaConf.create(changes[group]))


def _leaves(overrides: list[str], group: str) -> list[tuple[str, Any]]:
    prefix = group + "."
    found = (override.partition("=") for override in overrides if override.startswith(prefix))
    return [(key.removeprefix(prefix), OmegaConf.create({"value": _parse(value)}).value) for key, _, value in found]


def _parse(value: str) -> Any:
    import yaml

    return yaml.safe_load(value)


def _tokenizer_file(job: Job, parent: RunFolder | None) -> Path | None:
    """A resumed run has its tokenizer; one that starts from another takes that run's."""
    if job.resuming and job.folder.tokenizer.exists():
        return job.folder.tokenizer
    return parent.tokenizer if parent else None


def describe(cfg: DictConfig, job: Job, data: TextDataModule, task: Task, how: str) -> None:
    """Writes what makes the folder enough to use the run, and tells the terminal what is about to happen."""
    folder, facts = job.folder, {**parameter_count(task), "data": data.report}
    folder.write_config(plain(cfg))
    data.tokenizer.save(folder.tokenizer)
    folder.write_json(folder.facts, data.facts.as_dict())
    folder.write_json(folder.path / "labels.json", list(data.facts.labels))
    collect(folder, data_fingerprints=data.fingerprints(), tokenizer=data.tokenizer.fingerprint, **facts)
    log.info("data: %s", data.summary())
    log.info("model: %s, %s parameters; task: %s", type(task.model).__name__, f"{facts['parameters']:,}", type(task).__name__)
    log.info("budget: %s", how)


def fit(cfg: DictConfig, job: Job, data: TextDataModule, task: Task, steps: int) -> None:
    """Trains, from the last checkpoint when there is one."""
    checkpoint = last_checkpoint(job.folder) if job.resuming else None
    resume = ExactResume(data, seed=cfg.seed)
    loggers = [CsvLogger(job.folder)] + [
        built for node in (cfg.logger or {}).values() if (built := _logger(node, cfg, job)) is not None
    ]
    if checkpoint:
        state = load_checkpoint(checkpoint)
        resume.prepare(state)
        loggers[0].truncate(state["global_step"])
        log.info("resuming at step %d from %s", state["global_step"], checkpoint.name)
    callbacks = [resume, *(instantiate(node, **_supplied(name, cfg, job)) for name, node in (cfg.callbacks or {}).items() if node)]
    accumulate = cfg.trainer.accumulate_grad_batches
    trainer: Trainer = instantiate(
        cfg.trainer,
        max_epochs=-1,
        max_steps=steps,
        check_val_every_n_epoch=None,
        val_check_interval=min(cfg.validate_every, steps) * accumulate,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        enable_checkpointing=True,
        enable_model_summary=False,
        logger=loggers,
        callbacks=callbacks,
        plugins=[AtomicIO()],
        default_root_dir=str(job.folder.path),
    )
    if cfg.compile:
        task.model.compile()
    for logger in loggers:
        logger.log_hyperparams(plain(cfg))
    begun = time.perf_counter()
    trainer.fit(task, datamodule=data, ckpt_path=str(checkpoint) if checkpoint else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    log.info("trained %d steps in %.0f s", trainer.global_step, time.perf_counter() - begun)


def conclude(cfg: DictConfig, job: Job, data: TextDataModule, task: Task) -> float:
    """Evaluates the best checkpoint on every split it did not train on, and writes results and report."""
    task.load_state_dict(load_checkpoint(best_checkpoint(job.folder))["state_dict"])
    results = {}
    for split in ("validation", "test"):
        if split in data.splits:
            results[split] = evaluate(task, data, split, cfg.trainer)
    write_results(cfg, job, data, results)
    write_report(job.folder)
    metrics = {f"{split}/{name}": estimate.value for split, (values, _) in results.items() for name, estimate in values.items()}
    return metrics[cfg.monitor]
