"""``groundup ensemble``: runs that answer together, by weights fitted on rows that none of them had learned from."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from groundup.baselines.baseline import figures
from groundup.baselines.classification import Majority
from groundup.config.build import instantiate
from groundup.config.tree import Config
from groundup.data.seen import log_seen, seen_rows
from groundup.data.sources.folds import folds_of
from groundup.data.sources.source import Source
from groundup.errors import UserError
from groundup.metrics.classification import classification_metrics
from groundup.report.table import show_table
from groundup.runs.checkpoints import BEST
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.reference import MEMBERS, best_checkpoint, find_run
from groundup.stages.answering import Answering
from groundup.stages.build import prepare_process
from groundup.stages.ensemble_sections import contributions, differences
from groundup.stages.evaluate import Scored, with_other_data
from groundup.stages.evaluation import write_results
from groundup.stages.experts import Expert, chosen_weights, experts_of, judged, shared_rows
from groundup.stages.folds import ARRAYS, OUT_OF_FOLD, HeldOutScorer, OutOfFold, write_rows
from groundup.stages.loading import load_run
from groundup.stages.logged import log_finished
from groundup.stages.members import Member, RunOfMembers, fused, write_members
from groundup.system.cache import Cache
from groundup.tasks.evaluation import flat

log = logging.getLogger(__name__)
PARTS = 5  # in which weights are fitted to judge them on rows that they were not fitted to
KEPT = "config.yaml status.json labels.json facts.json tokenizer.json baseline.npz metrics.json command.txt".split()


def run(cfg: Config, job: Job) -> float:
    """Fits the weights, keeps the members that are worth it in the folder, and measures the whole and each of them."""
    cfg.threads = prepare_process(cfg.threads)
    opened = [load_run(reference, cfg.paths.logs) for reference in cfg.members]
    first = opened[0]
    config = with_other_data(first.config, cfg, job.overrides)
    source = Scored(instantiate(config.data, "data"), first.config.data)
    experts, rows = experts_of(opened, cfg.members)
    cfg.data, cfg.task, cfg.monitor = config.data, first.config.task, first.config.monitor
    cfg.members = [str(one.folder.checkpoint or one.folder.path) for one in opened]  # `last` may be another tomorrow
    job.folder.write_config(cfg)

    weights = chosen_weights([one.said for one in experts], rows.truth)
    for one, weight in zip(experts, weights, strict=True):
        log.info("%s: weight %.2f%s", one.name, weight, "" if weight else ", left out: it adds nothing")
    names = [member_name(one.run, place) for place, one in enumerate(experts, 1)]
    listed = [
        Member(f"members/{name}", float(w), one.name) for name, w, one in zip(names, weights, experts, strict=True)
    ]
    for one, member in zip(experts, listed, strict=True):
        if member.weight:
            copy_member(one.run.folder, job.folder.path / member.folder)
    write_members(job.folder, listed)
    job.folder.write_json("labels.json", list(first.labels))
    kept = [(one.run, weight) for one, weight in zip(experts, weights, strict=True) if weight]
    ours = RunOfMembers(job.folder, cfg, first.labels, kept)
    return conclude(cfg, job, source, ours, experts, weights, rows)


def check_members(cfg: Config) -> None:
    """Raises UserError for members that cannot answer together; no model is loaded."""
    if not cfg.members:
        raise UserError("members=[]: none to answer together. Try members=[RUN,RUN]")
    shared_rows([find_run(reference, Path(cfg.paths.logs), "evaluate")[0] for reference in cfg.members], cfg.members)


def member_name(run: Answering, place: int) -> str:
    """A folder's name for a member: that of its own folder, where it is a plain one of a pipeline's step."""
    own = run.folder.path.resolve().name
    return own if own.isidentifier() else f"member_{place}"


def copy_member(run: RunFolder, to: Path) -> None:
    """What is needed to use a run, without a second copy on the same disk."""
    to.mkdir(parents=True, exist_ok=True)
    files = [run.path / name for name in [*KEPT, MEMBERS, ARRAYS] if (run.path / name).is_file()]
    if run.checkpoint is not None or run.checkpoints.is_dir():
        (to / "checkpoints").mkdir(exist_ok=True)
        link(best_checkpoint(run), to / "checkpoints" / BEST)
    for file in files:
        link(file, to / file.name)
    for inner in sorted(run.path.glob("fold_*")) + sorted(run.path.glob("members/*")):
        if (inner / "config.yaml").is_file() and (run.path / MEMBERS).exists():
            copy_member(RunFolder(inner), to / inner.relative_to(run.path))


def link(file: Path, to: Path) -> None:
    to.unlink(missing_ok=True)
    try:
        os.link(file, to)
    except OSError:  # another disk, or one without such links
        shutil.copyfile(file, to)


def conclude(
    cfg: Config,
    job: Job,
    source: Source,
    ours: RunOfMembers,
    experts: Sequence[Expert],
    weights: np.ndarray,
    rows: OutOfFold,
) -> float:
    """Measures the whole and each expert on the same rows, and writes what each brings."""
    train = list(source.rows("train"))
    parts = folds_of([train[row] for row in rows.index], min(PARTS, len(rows.index)))
    together = judged([one.said for one in experts], rows.truth, weights, parts)
    found = OutOfFold(rows.index, together, parts + 1, rows.truth)
    found.save(job.folder)
    scorer = HeldOutScorer(ours, source, found)
    results = {OUT_OF_FOLD: scorer.score(OUT_OF_FOLD, cfg)}
    alone, whole, truths = (
        {OUT_OF_FOLD: [one.said for one in experts]},
        {OUT_OF_FOLD: together},
        {OUT_OF_FOLD: rows.truth},
    )
    for split in (split for split in source.splits() if split != "train"):
        texts, truths[split] = scorer.texts(split), scorer.truth(split)
        alone[split] = [one.run.probabilities(texts, cfg.accelerator) for one in experts]
        whole[split] = fused(alone[split], weights)
        results[split] = scorer.results(split, whole[split])
        log_seen(split, seen_rows(source, split, ours.reads, Cache(cfg.paths.cache)), len(texts))
    write_rows(job.folder, scorer.texts(OUT_OF_FOLD), results[OUT_OF_FOLD].predictions)
    write_results(job.folder, scorer, results)
    split = list(results)[-1]
    below = figures([Majority()], scorer, list(results))
    for place, one in enumerate(experts):
        below[one.name] = {
            f"{name}/{metric}": value
            for name, said in alone.items()
            for metric, value in classification_metrics(said[place], truths[name]).items()
        }
    job.folder.write_json("baselines.json", below)
    told = [contributions(experts, weights, rows), differences(experts, alone, whole, truths)]
    job.folder.write_json("sections.json", [*told, *scorer.sections(job.folder.read_predictions(), split)])
    metrics = flat(results.items())
    show_table({**below, ours.name: metrics})
    log_finished(cfg, job, [one.run.folder for one in experts])
    name = cfg.monitor.rpartition("/")[2]
    return metrics[f"{OUT_OF_FOLD}/{name}"].value
