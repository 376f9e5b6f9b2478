"""``folds=k``: a run folder for each fold, made and resumed as the steps of a pipeline are, and one run of them all."""

from __future__ import annotations

import logging
import time

from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.sources.folds import folds_of
from groundup.data.sources.source import Source
from groundup.errors import UserError
from groundup.jobs.resume import complete
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.stages.build import prepare_process, task_class, task_word
from groundup.stages.folds import finish
from groundup.tasks.base import Task

log = logging.getLogger(__name__)
AUTO = {"baseline": 20_000, "finetune": 5_000}  # train rows up to which all of 5 folds are held out; beyond, one of 10


def run(cfg: Config, job: Job) -> float:
    """Runs each fold that is not done yet; an interrupted one goes on where it stopped."""
    cfg.threads = prepare_process(cfg.threads)
    kind = task_class(cfg)
    if kind.probabilities is Task.probabilities:  # it tells none
        raise UserError(f"folds= is for task=classification so far, not for task={task_word(kind)}. Leave it out")
    source = instantiate(cfg.data, "data")
    kind.examples.check_columns(source.columns)
    settle(cfg, source, job.stage)
    job.folder.write_config(cfg)
    folders, begun = [], time.monotonic()
    for number in range(1, cfg.held_out + 1):
        folder = RunFolder(job.folder.path / f"fold_{number}")
        folders.append(folder)
        done = folder.status_file.exists() and folder.status().get("state") == "done"
        log.info("fold %d of %d%s", number, cfg.held_out, ": done already" if done else "")
        config = Config({**cfg, "fold": number, "held_out": None})
        if cfg.get("minutes_at_most"):  # what is left, shared by the folds to come
            left = cfg.minutes_at_most - (time.monotonic() - begun) / 60
            config.minutes_at_most = max(left / (cfg.held_out + 1 - number), 0.05)
        words = [*job.overrides, f"folds={cfg.folds}", f"fold={number}"]
        group = job.group or job.folder.path.name
        complete(job.stage, config, folder, words, group, job.choices, told=[])  # the whole was checked
    return finish(cfg, job, source, folders)


def settle(cfg: Config, source: Source, stage: str) -> None:
    """Turns ``folds=auto`` into numbers. Raises UserError where there are too few rows, or too many folds are asked for."""
    rows = list(source.rows("train"))
    if cfg.folds == "auto":
        few = len(rows) <= AUTO[stage]
        cfg.folds, cfg.held_out = (5, cfg.held_out) if few else (10, cfg.held_out or 1)
        log.info("folds=auto, %s rows: %s", f"{len(rows):,}", "5 folds" if few else "one of 10 is held out")
        if few:
            cfg.folds = min(5, len({row["text"] for row in rows}))
    folds_of(rows, cfg.folds)
    cfg.held_out = cfg.held_out or cfg.folds
    if cfg.held_out > cfg.folds:
        raise UserError(f"held_out={cfg.held_out}: there are only folds={cfg.folds}. Try held_out={cfg.folds}")
