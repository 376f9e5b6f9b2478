"""``groundup baseline``: the classical model of a task, measured, kept and reported as any other run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from groundup.baselines.baseline import Baseline, Texts, figures
from groundup.baselines.classification import ClassifierBaseline, truth_of
from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.roles import Row
from groundup.data.seen import log_seen, seen_rows
from groundup.data.sources.source import Source
from groundup.data.text_data import TextData
from groundup.errors import ArgumentError, UserError
from groundup.metrics.estimate import Estimate, Results
from groundup.metrics.sections import Section
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.provenance import collect
from groundup.stages.build import prepare_process, source_of, task_class
from groundup.stages.classifier import BaselineRun, ClassifierScorer
from groundup.stages.evaluation import Scorer, print_results, write_results
from groundup.stages.logged import log_finished
from groundup.system.cache import Cache
from groundup.tasks.evaluation import flat

log = logging.getLogger(__name__)


def run(cfg: Config, job: Job) -> float:
    """Learns from the train split, scores all other splits, and returns the monitored metric, for sweeps."""
    cfg.threads = prepare_process(cfg.threads)
    source = source_of(cfg)
    task_class(cfg).examples.check_columns(source.columns)
    job.folder.write_config(cfg)
    model: Baseline = instantiate(cfg.baseline, "baseline")
    data: Texts
    scorer: Scorer
    if isinstance(model, ClassifierBaseline):
        ours = fit(cfg, job.folder, source)
        scorer = data = ClassifierScorer(ours, source)
        name = ours.name
    else:
        scorer = learned = Learned(cfg, model, source)
        data, name = learned.data, model.name
        by_token = bool(task_class(cfg).per_token)  # so that `compare` knows what it may compare
        describe(job.folder, source, **({"tokenizer": learned.data.tokenizer.fingerprint} if by_token else {}))
    splits = [split for split in source.splits() if split != "train"]
    if not splits:
        log.warning("nothing is evaluated: the data has no other split than train. Try data.test=FILE")
        return float("nan")
    cache = Cache(cfg.paths.cache)
    for split in splits:
        log_seen(split, seen_rows(source, split, task_class(cfg).examples.reads, cache), len(data.texts(split)))
    results = {split: scorer.score(split, cfg) for split in splits}
    write_results(job.folder, scorer, results)
    if below := figures([model.simpler()], data, splits):
        job.folder.write_json("baselines.json", below)
    print_results(results, below, name, brief=bool(cfg.get("fold")))
    if not cfg.get("fold"):  # a moment's work, and a part of what is told as one
        log_finished(cfg, job)
    measured = flat(results.items())
    return measured[cfg.monitor].value if cfg.monitor in measured else float("nan")


def fit(cfg: Config, folder: RunFolder, source: Source) -> BaselineRun:
    """The classifier of the config, fitted to all train rows and saved in ``folder``."""
    rows = list(source.rows("train"))
    labels, _ = task_class(cfg).examples.label_names(source)
    recipe: ClassifierBaseline = instantiate(cfg.baseline, "baseline")
    begun = time.perf_counter()
    fitted = recipe.fit(recipe.count(rows), truth_of(rows, labels), len(labels))
    log.info("fitted to %s rows, %d classes, in %.1f s", f"{len(rows):,}", len(labels), time.perf_counter() - begun)
    fitted.save(folder.path)
    folder.write_json("labels.json", list(labels))
    describe(folder, source)
    return BaselineRun(folder, cfg, labels, fitted)


def describe(folder: RunFolder, source: Source, **more: str) -> None:
    """Where the figures come from."""
    collect(folder, data={split: {"fingerprint": source.fingerprint(split)} for split in source.splits()}, **more)


class Learned:
    """A classical model that has learned, before its data; the tokens of a language model are by ``cfg.tokenizer``."""

    def __init__(self, cfg: Config, model: Baseline, source: Source) -> None:
        examples = task_class(cfg).examples
        spec = cfg.get("tokenizer") or {"_target_": "groundup.text.tokenizer.TokenizerSpec", "kind": "char"}
        tokenizer = instantiate(spec, "tokenizer")  # is used where the baseline brings one
        self.data = TextData(source, examples, tokenizer, examples.batchings[0](), cfg.paths.cache, seed=0)
        self.model = model
        try:
            self.results = model.learn(self.data)
        except ArgumentError as error:  # of the scheme of tags, which the task has given it
            raise UserError(error.at("task")) from None

    def texts(self, split: str) -> list[Row]:
        return self.data.texts(split)

    def score(self, split: str, hardware: Config) -> Results:
        return self.results(split)

    def sections(self, rows: list[dict[str, Any]], split: str) -> list[Section]:
        return self.model.sections(rows, self.data, split)

    def explanations(self, rows: list[dict[str, Any]], split: str, count: int) -> list[Section]:
        return []

    def across(self, results: Mapping[str, Results]) -> dict[str, Estimate]:
        return {}

    def baselines(self, split: str, trained: bool) -> dict[str, dict[str, Estimate]]:
        return {}
