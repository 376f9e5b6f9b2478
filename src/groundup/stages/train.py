"""Pretraining and fine-tuning: data, model, weights, training, evaluation, report. One recipe for both verbs."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lightning.pytorch import Callback

from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.augmentation import Augmentation
from groundup.data.datamodule import TextDataModule
from groundup.data.text_data import UNLABELLED, TextData
from groundup.metrics.estimate import check_reported
from groundup.models.int8 import numbers_of
from groundup.models.lora import merge, summary
from groundup.runs.checkpoints import load_checkpoint
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.loggers import close_loggers, open_loggers
from groundup.runs.provenance import collect
from groundup.runs.reference import best_checkpoint, last_checkpoint, was_saved
from groundup.runs.trial import trial_of
from groundup.stages.build import (
    adapt,
    build_data,
    build_optimization,
    build_task,
    check_model_fits,
    prepare_process,
    quiet_lightning,
    saved_tokenizers,
    source_of,
)
from groundup.stages.evaluation import (
    NetworkScorer,
    compare_with_baselines,
    limit_of,
    print_results,
    whole_batches,
    write_results,
)
from groundup.stages.inheritance import inherit, inherited_choices, inherited_tokenizers, open_parents
from groundup.stages.inherited_weights import adopt_weights
from groundup.stages.logged import wanted_loggers
from groundup.stages.self_training import check_self_training, mean_teacher
from groundup.stages.stored import check_stored
from groundup.stages.teacher import check_student, distillation, teacher_tokenizer
from groundup.stages.vectors import start_from, word_vectors
from groundup.system.processes import leave_process_group
from groundup.tasks.base import Task
from groundup.training.budget import measure_seconds_per_step, to_steps
from groundup.training.checkpoints import Checkpoints
from groundup.training.fit import count_processes, fit, make_trainer
from groundup.training.pruning import Pruning
from groundup.training.resume import saved_batches, saved_step
from groundup.training.step_logger import FIGURES

log = logging.getLogger(__name__)


def run(cfg: Config, job: Job) -> float:
    """Trains as the config says, evaluates the best checkpoint, and returns the monitored metric, for sweeps."""
    quiet_lightning()
    processes = count_processes(partial(instantiate, cfg.trainer, "trainer"))
    threads = prepare_process(cfg.threads, processes.here)
    # A run that died before its first checkpoint begins again, which gives the same weights.
    checkpoint = last_checkpoint(job.folder) if job.resuming and was_saved(job.folder) else None
    if checkpoint:
        check_stored(job.folder, cfg, load_checkpoint(checkpoint, mmap=True), checkpoint)
    parents = open_parents(cfg) if checkpoint is None else {}
    inherit(cfg, parents, job.overrides)
    if parents and job.is_main:  # what tells a run from others says which model it has
        job.folder.set_status("running", choices=inherited_choices(parents, job.choices))
    check_model_fits(cfg)
    check_student(cfg)
    written = checkpoint is not None or not job.is_main
    tokenizers = saved_tokenizers(job.folder) if written else inherited_tokenizers(cfg, parents)
    if not written and (shared := teacher_tokenizer(cfg, job.overrides)) is not None:
        tokenizers = shared, None

    source = source_of(cfg)
    if (average := mean_teacher(cfg)) is not None:
        check_self_training(cfg, source)
    data = build_data(cfg, source, *tokenizers)
    data.prepare()
    if average is not None:
        data.examples(UNLABELLED)
    teacher = average or distillation(cfg, job, data)
    table = word_vectors(cfg, data) if checkpoint is None else None
    steps, budget = count_steps(cfg, data, processes.world, teacher)
    task = build_task(cfg, data.facts, data.target_tokenizer, build_optimization(cfg, steps), adapted=False)
    data.check_lengths(task.model.max_length)
    check_reported("monitor", cfg.monitor, task.reports)  # what it reports may depend on its labels
    if table is not None:
        start_from(task, table)
    task.check_data(data)
    validated = data.loader("validation", task.collator(), 0, processes.world) if "validation" in data.report else ()
    whole_batches(
        cfg.trainer,
        {"limit_val_batches": len(validated), "limit_train_batches": steps * cfg.trainer.accumulate_grad_batches},
    )
    lines, new = adopt_weights(task, parents)
    for line in [*lines, *add_lora(cfg, task, new)]:
        log.info("%s", line)
    cfg.threads, cfg.budget = threads, {"steps": steps, "tokens": None, "epochs": None, "minutes": None}
    cfg.minutes_at_most = None
    if job.is_main and checkpoint is None:
        describe(cfg, job.folder, data, task)
    log.info("budget: %s", budget)

    begun = saved_step(checkpoint) if checkpoint else 0  # rows of an attempt that died unsaved go
    loggers = open_loggers(job.folder, wanted_loggers(cfg, job), begun)
    failed = 1
    try:
        pruned = run_training(cfg, job, data, task, steps, loggers, checkpoint, teacher)
        leave_process_group()  # the other ranks are done; what follows is one process's work
        if job.is_main and pruned is not None:
            job.folder.set_status("running", pruned=pruned)
        value = conclude(cfg, job.folder, data) if job.is_main and pruned is None else float("nan")
        failed = 0
    finally:
        if job.is_main:
            close_loggers(loggers, failed)
    return value


def add_lora(cfg: Config, task: Task, new: Sequence[str]) -> list[str]:
    """Adds the adapters that ``cfg`` asks for to the weights that were loaded; lines to tell.

    ``new``: tensors that have nothing to be frozen at. They are kept in ``cfg``, as a resume opens no earlier run.
    """
    if cfg.at("lora.rank") is None:
        return []
    body = [name.removeprefix("model.") for name in new if name.startswith("model.")]
    cfg.lora.train = list(dict.fromkeys([*cfg.lora.train, *body]))
    adapt(cfg, task)
    return [f"lora: {summary(task.model)}"]


def count_steps(cfg: Config, data: TextData, world: int, teacher: Callback | None) -> tuple[int, str]:
    """The budget as optimizer steps, and a line that says how it was counted. ``teacher``: what each step waits for."""

    def seconds_per_step() -> float:
        steps = 1_000_000  # more than will be made
        trial = build_task(cfg, data.facts, data.target_tokenizer, build_optimization(cfg, total_steps=10_000))
        batches = batches_of(cfg, data, trial, steps).train_dataloader()
        return measure_seconds_per_step(trial, batches, partial(instantiate, cfg.trainer, "trainer"), teacher)

    return to_steps(cfg.budget, cfg.trainer.accumulate_grad_batches, data, seconds_per_step, world, cfg.minutes_at_most)


def describe(cfg: Config, folder: RunFolder, data: TextData, task: Task) -> None:
    """Writes what makes the folder enough to use the run, before the first step."""
    parameters = numbers_of(task)
    trained = parameters - sum(p.numel() for p in task.parameters() if not p.requires_grad)
    folder.write_config(cfg)
    folder.set_status("running", writes=task.writes)
    data.tokenizer.save(folder.tokenizer)
    if data.facts.target_vocab_size is not None:
        data.target_tokenizer.save(folder.target_tokenizer)
    folder.write_json("facts.json", data.facts.as_dict())
    folder.write_json("labels.json", list(data.facts.labels))
    folder.write_json("measures.json", {one.name: one for one in (*task.reports, *FIGURES)})
    collect(
        folder,
        parameters=parameters,
        **({"trained": trained} if trained < parameters else {}),
        data={split: {"fingerprint": data.fingerprint(split), **data.report[split]} for split in data.report},
        tokenizer=data.tokenizer.fingerprint,
    )
    share = f", {trained:,} of them trained ({trained / parameters:.1%})" if trained < parameters else ""
    log.info(
        "model: %s, %s parameters%s; task: %s", type(task.model).__name__, f"{parameters:,}", share, type(task).__name__
    )


def run_training(
    cfg: Config,
    job: Job,
    data: TextData,
    task: Task,
    steps: int,
    loggers: list,
    checkpoint: Path | None,
    teacher: Callback | None,
) -> int | None:
    """Trains to the last step, from a checkpoint if there is one. Returns the step at which a study has ended it early."""
    callbacks = {name: instantiate(node, f"callbacks.{name}") for name, node in (cfg.callbacks or {}).items() if node}
    callbacks["teacher"] = teacher
    trial = trial_of(job.sweep_dir, job.job_num)
    pruning = Pruning(cfg.monitor, trial.hopeless) if trial is not None else None
    callbacks["pruning"] = pruning
    checkpoints = Checkpoints(job.folder.checkpoints, cfg.monitor, cfg.monitor_mode, cfg.checkpoint_every)
    build = partial(instantiate, cfg.trainer, "trainer")
    order = data.order_fingerprint
    # What is held out to be predicted must not choose among checkpoints: it is looked at once, at the end.
    every = None if cfg.get("fold") else cfg.validate_every
    trainer = make_trainer(build, order, checkpoints, callbacks, loggers, steps, every, cfg.seed)
    if cfg.compile:
        task.model.compile()
    if checkpoint:
        log.info("resuming at step %d", saved_step(checkpoint))
    total = steps * trainer.accumulate_grad_batches
    start = saved_batches(checkpoint, trainer.accumulate_grad_batches) if checkpoint else 0
    batches = batches_of(cfg, data, task, total, start)
    begun = time.perf_counter()
    fit(trainer, task, batches, checkpoint)
    log.info("trained to step %d in %.1f s", trainer.global_step, time.perf_counter() - begun)
    return pruning.ended_at if pruning is not None else None


def batches_of(cfg: Config, data: TextData, task: Task, total: int, start: int = 0) -> TextDataModule:
    """Micro-batches ``start`` to ``total`` of each rank, with rows without a label beside them where a teacher answers these."""
    unlabelled = UNLABELLED in data.report
    return TextDataModule(
        data, task.collator(), total, start, cfg.num_workers, augmentations(cfg, data), unlabelled=unlabelled
    )


def augmentations(cfg: Config, data: TextData) -> list[Augmentation]:
    """What changes training rows, in the order of the config."""
    chosen = {name: node for name, node in (cfg.get("augmentation") or {}).items() if node}
    known = {"tokenizer": data.tokenizer, "examples": data.examples("train")} if chosen else {}
    return [instantiate(node, f"augmentation.{name}", **known) for name, node in chosen.items()]


def conclude(cfg: Config, folder: RunFolder, data: TextData) -> float:
    """Evaluates the best checkpoint on every split it did not train on, and writes and prints the results."""
    task = build_task(
        cfg, data.facts, data.target_tokenizer
    )  # the trained one may be spread over processes, or compiled
    task.load_state_dict(load_checkpoint(best_checkpoint(folder))["state_dict"])
    merge(task.model)
    splits = [split for split in data.source.splits() if split != "train" and limit_of(split, cfg.trainer) != 0]
    if not splits:
        log.warning("nothing is evaluated: trainer.limit_val_batches and trainer.limit_test_batches are 0")
        return float("nan")
    scorer = NetworkScorer(task, data)
    results = {split: scorer.score(split, cfg.trainer) for split in splits}
    write_results(folder, scorer, results)
    baselines = compare_with_baselines(folder, scorer, splits[-1], cfg.get("baselines", False))
    print_results(results, baselines, type(task.model).__name__, brief=bool(cfg.get("fold")))
    split, _, metric = cfg.monitor.partition("/")
    return results[split].metrics[metric].value if split in results else float("nan")
