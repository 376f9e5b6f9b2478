"""``groundup ensemble``: runs that answer together, by weights fitted on rows that none of them had learned from."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from groundup.metrics.classification import ACCURACY, MACRO_F1, classification_metrics, judge_classes
from groundup.metrics.estimate import Estimate, Metric
from groundup.metrics.paired import Part, difference
from groundup.metrics.sections import Section, Table
from groundup.report.table import show_table
from groundup.runs.checkpoints import BEST
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.reference import MEMBERS, best_checkpoint, find_run
from groundup.stages.answering import Answering, clean_of
from groundup.stages.build import prepare_process
from groundup.stages.evaluate import Scored, with_other_data
from groundup.stages.evaluation import write_results
from groundup.stages.folds import ARRAYS, OUT_OF_FOLD, HeldOutScorer, OutOfFold, write_rows
from groundup.stages.loading import load_run
from groundup.stages.logged import log_finished
from groundup.stages.members import Member, RunOfMembers, fused, logarithm, write_members
from groundup.system.cache import Cache
from groundup.tasks.evaluation import flat

log = logging.getLogger(__name__)
WORTH = 1.92  # nats that a member must add to the log-likelihood of all rows: the 95 % point of chi-square with 1 degree, halved
PRIOR = 1.0  # rows that the equal weights count for, so that few rows do not make them infinite
PARTS = 5  # in which weights are fitted to judge them on rows that they were not fitted to
KEPT = "config.yaml status.json labels.json facts.json tokenizer.json baseline.npz metrics.json command.txt".split()


@dataclass
class Expert:
    """A run that may become a member. ``said``: (n, C), of the rows that all of them have held out."""

    name: str
    run: Answering
    said: np.ndarray


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


def experts_of(opened: Sequence[Answering], references: Sequence[str]) -> tuple[list[Expert], OutOfFold]:
    """The runs with what they said of the rows that all have held out; and these rows. Raises UserError as ``shared_rows``."""
    found = shared_rows([run.folder for run in opened], references)
    experts = [Expert(run.name, run, one.probabilities) for run, one in zip(opened, found, strict=True)]
    return experts, found[0]


def shared_rows(folders: Sequence[RunFolder], references: Sequence[str]) -> list[OutOfFold]:
    """What each of the runs said of the rows that all of them have held out.

    Raises UserError for runs of other classes or of other data, or with no such rows.
    """
    found, cleanings = [], []
    classes = folders[0].read_json("labels.json", [])
    for run, reference in zip(folders, references, strict=True):
        labels = run.read_json("labels.json", [])
        if not labels or labels != classes:
            raise UserError(f"members={reference}: its classes are not those of {references[0]}. Leave it out")
        cleanings.append(clean_of(run.read_config()))
        if cleanings[-1] != cleanings[0]:
            raise UserError(
                f"members={reference}: its texts were cleaned otherwise than those of {references[0]}. Leave it out"
            )
        if not (run.path / ARRAYS).exists():
            raise UserError(
                f"members={reference}: it says nothing of rows that it had not learned from. Train it with folds=5"
            )
        found.append(OutOfFold.load(run, len(labels)))
    index = found[0].index
    for one in found[1:]:
        index = np.intersect1d(index, one.index)
    if not len(index):
        raise UserError("members: no row was held out by all of them. Train them with the same folds")
    places = [np.searchsorted(one.index, index) for one in found]
    shared = [
        OutOfFold(index, one.probabilities[place], one.fold[place], one.truth[place])
        for one, place in zip(found, places, strict=True)
    ]
    for one, reference in zip(shared, references, strict=True):
        if (one.truth != shared[0].truth).any():
            raise UserError(f"members={reference}: it was trained on other rows than {references[0]}. Leave it out")
    return shared


def chosen_weights(said: Sequence[np.ndarray], truth: np.ndarray) -> np.ndarray:
    """The weight of each member (K,), 0 for those that do not raise the likelihood of the rows by ``WORTH``.

    The least useful goes first, and the others are fitted anew.
    """
    kept = list(range(len(said)))
    weights, loss = fit_weights([said[k] for k in kept], truth)
    while len(kept) > 1:
        without = {k: fit_weights([said[j] for j in kept if j != k], truth)[1] for k in kept}
        least = min(kept, key=lambda k: without[k])
        if (without[least] - loss) * len(truth) > WORTH:
            break
        kept.remove(least)
        weights, loss = fit_weights([said[k] for k in kept], truth)
    found = np.zeros(len(said))
    found[kept] = weights
    return found


def fit_weights(said: Sequence[np.ndarray], truth: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights a_k >= 0 (K,) that make softmax(sum a_k log p_k) likeliest, and the loss that they reach, in nats a row.

    It is convex, so there is one answer (L-BFGS-B). ``said``: K times (n, C). ``truth``: (n,).
    """
    from scipy.optimize import minimize

    logs = np.stack([logarithm(one) for one in said])  # (K, n, C)
    n, equal = len(truth), 1 / len(said)
    right = logs[:, np.arange(n), truth]  # (K, n)

    def objective(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = np.tensordot(weights, logs, 1)  # (n, C)
        top = scores.max(axis=1, keepdims=True)
        shares = np.exp(scores - top)
        total = shares.sum(axis=1, keepdims=True)
        nll = (top[:, 0] + np.log(total[:, 0]) - weights @ right).mean()
        expected = np.einsum("knc,nc->kn", logs, shares / total)
        away = weights - equal
        return nll + PRIOR * (away @ away) / (2 * n), (expected - right).mean(axis=1) + PRIOR * away / n

    start = np.full(len(said), equal)
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(said))
    return found.x, float(objective(found.x)[0])


def judged(said: Sequence[np.ndarray], truth: np.ndarray, weights: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """What the members say together (n, C), each part of the rows by weights that were fitted to the others."""
    kept = [k for k, weight in enumerate(weights) if weight]
    together = np.zeros_like(said[0])
    for part in np.unique(parts):
        inside = parts == part
        fitted, _ = fit_weights([said[k][~inside] for k in kept], truth[~inside])
        together[inside] = fused([said[k][inside] for k in kept], fitted)
    return together


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


def contributions(experts: Sequence[Expert], weights: np.ndarray, rows: OutOfFold) -> Section:
    """What each member weighs, what it is alone, and what is lost without it, on rows that were held out."""
    said, truth = [one.said for one in experts], rows.truth
    kept = [place for place, weight in enumerate(weights) if weight]
    whole, loss = fit_weights([said[place] for place in kept], truth)
    answers = fused([said[place] for place in kept], whole).argmax(axis=1)
    lines = []
    for place, one in enumerate(experts):
        own = -np.log(np.maximum(one.said[np.arange(len(truth)), truth], 1e-30)).mean()
        line = [one.name, f"{weights[place]:.2f}", f"{(one.said.argmax(axis=1) == truth).mean():.4f}", f"{own:.4f}"]
        others = [other for other in kept if other != place]
        if place in kept and others:
            fitted, reached = fit_weights([said[other] for other in others], truth)
            less = fused([said[other] for other in others], fitted).argmax(axis=1)
            lines.append([*line, f"{reached - loss:+.4f}", points(gain(answers, less, truth)[ACCURACY])])
        else:
            lines.append([*line, "", "" if place in kept else "left out"])
    columns = {"member": "word", "weight": "number", "accuracy alone": "number", "loss alone": "number"}
    columns |= {"loss without it": "number", "accuracy that it adds": "number"}
    note = f"Of {len(truth):,} train rows, each held out when its answer was learned. Accuracy with its 95 % paired interval."
    return Section("What each member brings", note, [Table(columns, lines)])  # type: ignore[arg-type]


def differences(
    experts: Sequence[Expert],
    alone: Mapping[str, Sequence[np.ndarray]],
    ours: Mapping[str, np.ndarray],
    truths: Mapping,
) -> Section:
    """All together minus each expert alone, on the same rows of each split; told on the log, too."""
    lines: list[list[str]] = []
    for split, said in alone.items():
        for one, theirs in zip(experts, said, strict=True):
            found = gain(ours[split].argmax(axis=1), theirs.argmax(axis=1), truths[split])
            lines.append([split.replace("_", " "), one.name, *map(points, found.values())])
            log.info("%s: together minus %s: %s points of accuracy", *lines[-1][:3])
    columns = {"rows": "word", "alone": "word", "accuracy": "number", "macro F1": "number"}
    note = "In percentage points, with 95 % paired bootstrap intervals: both answer the same rows."
    return Section("All together minus each alone", note, [Table(columns, lines)])  # type: ignore[arg-type]


def gain(ours: np.ndarray, theirs: np.ndarray, truth: np.ndarray) -> dict[Metric, Estimate]:
    """Accuracy and macro F1 of our answers minus those of theirs, both (n,), with paired intervals."""

    def side(said: np.ndarray) -> list[Part]:
        rows = [{"label": one, "predicted": other} for one, other in zip(truth.tolist(), said.tolist(), strict=True)]
        return [(slice(0, len(rows)), judge_classes(rows))]

    return {metric: difference(side(ours), side(theirs), metric, len(truth)) for metric in (ACCURACY, MACRO_F1)}


def points(difference: Estimate) -> str:
    """A difference of shares as percentage points: ``+1.2 [0.3, 2.1]``."""
    if difference.low is None or difference.high is None:
        return f"{100 * difference.value:+.1f}"
    return f"{100 * difference.value:+.1f} [{100 * difference.low:.1f}, {100 * difference.high:.1f}]"
