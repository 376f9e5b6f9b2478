"""``groundup evaluate``: numbers of a finished run, on its own data or on other data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.roles import Row
from groundup.data.seen import log_seen, seen_rows
from groundup.data.sources.files import FILES, with_other_files
from groundup.data.sources.source import SPLITS, Source
from groundup.errors import UserError
from groundup.runs.job import Job
from groundup.runs.provenance import collect
from groundup.stages.build import prepare_process, task_class
from groundup.stages.calibrated import calibrated, temperature_of
from groundup.stages.evaluation import compare_with_baselines, print_results, write_results
from groundup.stages.loading import load_run
from groundup.stages.logged import log_finished
from groundup.stages.network import NetworkRun
from groundup.system.cache import Cache

NAMED = (*SPLITS, "hub")  # keys that name rows, not how they are read


def run(cfg: Config, job: Job) -> float:
    """Scores the best checkpoint of ``run`` on a split and writes results and report to a folder of its own."""
    prepare_process(cfg.threads)
    loaded = load_run(cfg.run, cfg.paths.logs, decoding=cfg.get("decoding"), scheme=cfg.scheme)
    temperature = temperature_of(loaded.folder, task_class(loaded.config)) if cfg.calibrated else None
    cfg.run = str(loaded.folder.checkpoint or loaded.folder.path)  # `last` may be another when this one goes on
    job.folder.write_config(cfg)
    trained = with_other_data(loaded.config, cfg, job.overrides)
    source = Scored(instantiate(trained.data, "data"), loaded.config.data)
    scorer = loaded.scorer(trained, source)
    present = source.splits()
    split = cfg.split or ("test" if "test" in present else "validation")
    if split not in present or split == "train":
        others = [name for name in present if name != "train"]
        advice = f"{' and '.join(others)}. Try split={others[-1]}" if others else "no other. Try data.test=FILE"
        raise UserError(f"split={split}: the data has {advice}")
    if cfg.baselines:
        next(iter(source.rows("train")))  # a file that is gone shows now, not after the evaluation
    cfg.data = trained.data
    job.folder.write_config(cfg)
    job.folder.write_json("labels.json", list(loaded.labels))
    job.folder.set_status("running", task=loaded.config.task["_target_"])  # for who has this folder alone
    known = {"tokenizer": loaded.tokenizer.fingerprint} if isinstance(loaded, NetworkRun) else {}
    collect(job.folder, data={split: {"fingerprint": source.fingerprint(split)}}, **known)
    found = scorer.score(split, cfg)
    log_learned(source, split, loaded.reads, cfg.paths.cache)
    results = {split: found if temperature is None else calibrated(found, loaded.labels, temperature)}
    write_results(job.folder, scorer, results, cfg.explain)
    baselines = compare_with_baselines(job.folder, scorer, split, cfg.baselines)
    print_results(results, baselines, loaded.name)
    log_finished(cfg, job, [loaded.folder])
    monitored = results[split].metrics.get(loaded.config.monitor.rpartition("/")[2])
    return monitored.value if monitored else float("nan")  # these rows may have no such figure: one class has no AUROC


def log_learned(source: Scored, split: str, reads: tuple[str, ...], cache: str) -> None:
    """Says how many of the rows the run has learned from; nothing where it cannot be known, as those are gone or no texts."""
    try:
        seen = seen_rows(source, split, reads, Cache(cache), source.learned)
    except UserError:
        return
    if seen:
        log_seen(split, seen, sum(1 for _ in source.rows(split)))


class Scored(Source):
    """A source of rows to score, beside the rows that the run has learned from.

    Baselines are to learn from what the model has learned from: the split ``train`` is the run's own in any case.
    """

    def __init__(self, scored: Source, trained: Config) -> None:
        self._scored, self._trained = scored, trained
        self.columns, self.labels, self.streaming = scored.columns, scored.labels, scored.streaming

    def splits(self) -> list[str]:
        return self._scored.splits()

    def rows(self, split: str) -> Iterable[Row]:
        return self._of(split).rows(split)

    def fingerprint(self, split: str) -> str:
        return self._of(split).fingerprint(split)

    @property
    def learned(self) -> Source:
        """The run's own rows. Raises UserError where they are gone."""
        return instantiate(self._trained, "data")

    def _of(self, split: str) -> Source:
        return self.learned if split == "train" else self._scored


def with_other_data(trained: Config, cfg: Config, overrides: Sequence[str] = ()) -> Config:
    """The run's config, its data replaced where the command line names other data.

    ``data=NAME`` replaces all of it but the cleaning, which belongs to the model; ``data.test=FILE`` alone keeps the
    run's columns, too. What ``overrides`` say of the cleaning counts before what the run did.
    """
    given = {key: value for key, value in cfg.data.items() if value is not None}
    config = dict(trained)
    saved = config["data"]
    if "_target_" in given:
        typed = [word.lstrip("+").partition("=")[0] for word in overrides]
        clean = given.get("clean") or {}
        own = {step: value for step, value in clean.items() if value or f"data.clean.{step}" in typed}
        config["data"] = {**given, "clean": {**(saved.get("clean") or clean), **own}}
    elif any(name in given for name in NAMED):
        if saved["_target_"] != FILES:  # a set made by code has settings of its own, and names its rows by their roles
            named = {role: role for role in instantiate(trained.data, "data").columns if role != "group"}
            saved = {"clean": saved.get("clean"), **named}
        config["data"] = with_other_files(saved, given)
    else:
        config["data"] = {**saved, **given}
    config["paths"], config["num_workers"] = cfg.paths, 0
    return Config(config)
