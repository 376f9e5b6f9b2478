"""``groundup baseline``: the classical model of a task, measured, kept and reported as any other run."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from groundup.baselines.baseline import Baseline, class_numbers
from groundup.baselines.classification import MAJORITY, majority
from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.roles import Row
from groundup.data.sources.source import Source
from groundup.errors import UserError
from groundup.metrics.estimate import Estimate
from groundup.report.table import show_table
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.provenance import collect
from groundup.stages.build import prepare_process, source_of, task_class, task_word
from groundup.stages.classifier import BaselineRun, ClassifierScorer
from groundup.stages.evaluation import print_results, write_results
from groundup.tasks.evaluation import flat

log = logging.getLogger(__name__)


def run(cfg: Config, job: Job) -> float:
    """Fits on the train split, scores all other splits, and returns the monitored metric, for sweeps."""
    cfg.threads = prepare_process(cfg.threads)
    task = task_class(cfg)
    source = source_of(cfg)
    task.examples.check_columns(source.columns)
    splits = [split for split in source.splits() if split != "train"]
    if task.columns == Baseline.columns:
        job.folder.write_config(cfg)
        return fit_and_score(cfg, job, source, splits)
    if any(word.startswith("baseline") for word in job.overrides):
        raise UserError(f"baseline= is for task=classification; task={task_word(task)} has its own. Leave it out")
    del cfg["baseline"]
    job.folder.write_config(cfg)
    if not splits:
        raise UserError("the data has no split to score. Try data.test=FILE")
    found: dict[str, dict[str, Estimate]] = {}
    for split in splits:
        for name, metrics in task.baselines(Rows(source, task.examples.label_names(source)[0]), split).items():
            found.setdefault(name, {}).update(metrics)
    if not found:
        raise UserError(f"task={task_word(task)} has no classical model yet")
    name, ours = list(found.items())[-1]
    describe(job.folder, source, splits)
    job.folder.write_json("metrics.json", ours)
    if others := {other: metrics for other, metrics in found.items() if other != name}:
        job.folder.write_json("baselines.json", others)
    show_table(found)
    return value_of(ours, cfg.monitor)


def fit_and_score(cfg: Config, job: Job, source: Source, splits: Sequence[str]) -> float:
    ours = fit(cfg, job.folder, source)
    if not splits:
        log.warning("nothing is evaluated: the data has no other split than train. Try data.test=FILE")
        return float("nan")
    scorer = ClassifierScorer(ours, source)
    results = {split: scorer.score(split, cfg) for split in splits}
    write_results(job.folder, scorer, results)
    below = beside(scorer, splits)
    job.folder.write_json("baselines.json", below)
    print_results(results, below, ours.name, brief=bool(cfg.get("fold")))
    return value_of(flat(results.items()), cfg.monitor)


def fit(cfg: Config, folder: RunFolder, source: Source) -> BaselineRun:
    """The classifier of the config, fitted to all train rows and saved in ``folder``."""
    rows = list(source.rows("train"))
    labels, _ = task_class(cfg).examples.label_names(source)
    recipe: Baseline = instantiate(cfg.baseline, "baseline")
    truth = class_numbers([row["label"] for row in rows], labels)
    begun = time.perf_counter()
    fitted = recipe.fit(recipe.count(rows), truth, len(labels))
    log.info("fitted to %s rows, %d classes, in %.1f s", f"{len(rows):,}", len(labels), time.perf_counter() - begun)
    fitted.save(folder.path)
    folder.write_json("labels.json", list(labels))
    describe(folder, source, source.splits())
    return BaselineRun(folder, cfg, labels, fitted)


def beside(scorer: ClassifierScorer, splits: Sequence[str]) -> dict[str, dict[str, Estimate]]:
    """What even no classifier reaches: the figures of the majority class."""
    truth = scorer.truth("train")
    found: dict[str, Estimate] = {}
    for split in splits:
        figures = majority(truth, scorer.truth(split), len(scorer.labels))
        found |= {f"{split}/{name}": one for name, one in figures.items()}
    return {MAJORITY: found}


class Rows:
    """The rows of a source and its classes, as ``Task.baselines`` asks for them."""

    def __init__(self, source: Source, labels: tuple[str, ...]) -> None:
        self.source, self.labels = source, labels
        self._texts: dict[str, list[Row]] = {}

    def texts(self, split: str) -> list[Row]:
        if split not in self._texts:
            self._texts[split] = list(self.source.rows(split))
        return self._texts[split]


def describe(folder: RunFolder, source: Source, splits: Sequence[str]) -> None:
    """Where the figures come from."""
    collect(folder, data={split: {"fingerprint": source.fingerprint(split)} for split in splits})


def value_of(metrics: dict[str, Estimate], monitor: str) -> float:
    """The monitored figure; NaN where it was not measured."""
    return metrics[monitor].value if monitor in metrics else float("nan")
