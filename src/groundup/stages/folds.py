"""What k runs of cross-validation are together: figures on rows that were held out, and one run that answers."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np

from groundup.baselines.baseline import figures
from groundup.baselines.classification import ClassifierBaseline, Majority
from groundup.baselines.linear import LogisticRegression
from groundup.config.tree import Config
from groundup.data.roles import Row
from groundup.data.sources.folds import Fold
from groundup.data.sources.source import Source
from groundup.metrics.classes import answered_rows
from groundup.metrics.classification import classification_metrics
from groundup.metrics.estimate import Estimate
from groundup.report.table import show_table
from groundup.runs.folder import RunFolder, finite
from groundup.runs.job import Job
from groundup.stages import baseline
from groundup.stages.answering import Answering
from groundup.stages.classifier import Classifier, ClassifierScorer
from groundup.stages.evaluation import write_results
from groundup.stages.loading import load_run
from groundup.stages.logged import log_finished
from groundup.stages.members import Member, RunOfMembers, write_members
from groundup.system.arrays import read_arrays, write_arrays
from groundup.system.files import damaged, write_text
from groundup.tasks.evaluation import Results, flat

log = logging.getLogger(__name__)
OUT_OF_FOLD, FOLDS = "out_of_fold", "folds"  # prefixes of figures: on all rows that were held out; mean over the folds
ARRAYS, ROWS = "out_of_fold.npz", "out_of_fold.jsonl"


@dataclass(frozen=True)
class OutOfFold:
    """What runs said of train rows that they had not learned from.

    index: (n,) places in the whole train split, rising. probabilities: (n, C). fold: (n,) from 1 on. truth: (n,).
    """

    index: np.ndarray
    probabilities: np.ndarray
    fold: np.ndarray
    truth: np.ndarray

    @classmethod
    def gather(cls, members: Sequence[tuple[int, Answering]], source: Source, count: int) -> OutOfFold:
        """What each member, given with the number of its fold, says of the rows that it was trained without."""
        parts = []
        for number, member in members:
            fold = Fold(source, count, number)
            rows = fold.rows("validation")
            truth = np.array([member.labels.index(row["label"]) for row in rows])
            parts.append((np.flatnonzero(fold.held_out), member.probabilities(rows), np.full(len(rows), number), truth))
        index, said, folds, truth = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.argsort(index)
        return cls(index[order], said[order].astype(np.float64), folds[order], truth[order])

    def save(self, folder: RunFolder) -> None:
        write_arrays(folder.path / ARRAYS, vars(self))

    @classmethod
    def load(cls, folder: RunFolder, classes: int) -> OutOfFold:
        """The reverse of ``save``. Raises UserError where the file is missing, damaged, or of other classes."""
        file = folder.path / ARRAYS
        saved = read_arrays(file)
        if saved.keys() != cls.__dataclass_fields__.keys():
            raise damaged(file, f"it holds {', '.join(saved) or 'nothing'}")
        found = cls(**saved)
        n, said = len(found.index), found.probabilities
        whole = [one.shape == (n,) and one.dtype == np.int64 for one in (found.index, found.fold, found.truth)]
        if not (all(whole) and n and said.shape == (n, classes) and said.dtype == np.float64):
            raise damaged(file, f"it holds no probabilities of {classes} classes")
        if (said < 0).any() or not np.allclose(said.sum(axis=1), 1, atol=1e-4):
            raise damaged(file, "its probabilities do not add up to 1")
        if (np.diff(found.index) <= 0).any() or found.truth.min() < 0 or found.truth.max() >= classes:
            raise damaged(file, "its rows are out of order, or of no class")
        return found

    def metrics(self) -> dict[str, Estimate]:
        """Of all rows together, with intervals."""
        return classification_metrics(self.probabilities, self.truth)

    def rows(self, labels: Sequence[str]) -> list[dict[str, Any]]:
        """One plain dict a row, as in ``predictions.jsonl``."""
        truth = [labels[true] for true in self.truth.tolist()]
        rows = answered_rows(self.index.tolist(), truth, self.probabilities, labels)
        return [{**row, "fold": fold} for row, fold in zip(rows, self.fold.tolist(), strict=True)]


def over_folds(folders: Sequence[RunFolder]) -> dict[str, Estimate]:
    """Mean and standard deviation over the folds of each figure on their held-out rows; empty with one fold."""
    own = [folder.read_json("metrics.json", {}) for folder in folders]
    found = {}
    for name in [name for name in own[0] if name.startswith("validation/")]:
        saved = [Estimate.from_dict(metrics[name], name) for metrics in own if name in metrics]
        values = [one.value for one in saved if np.isfinite(one.value)]
        if len(values) > 1:
            short = name.removeprefix("validation/")
            mean = Estimate(fmean(values), None, None, len(values), metric=saved[0].metric, deviation=stdev(values))
            found[f"{FOLDS}/{short}"] = mean
    return found


class HeldOutScorer(ClassifierScorer):
    """A classifier before its data; the split ``out_of_fold`` is the train rows, as they were held out."""

    def __init__(self, run: Classifier, source: Source, found: OutOfFold) -> None:
        super().__init__(run, source)
        self.found = found

    def texts(self, split: str) -> list[Row]:
        return super().texts("train" if split == OUT_OF_FOLD else split)

    def score(self, split: str, hardware: Config) -> Results:
        if split == OUT_OF_FOLD:
            return Results(self.found.metrics(), self.found.rows(self.labels))
        return super().score(split, hardware)

    def baselines(self, split: str, trained: bool) -> dict[str, dict[str, Estimate]]:
        """Of held-out rows, what is learned without their fold, too."""
        if split != OUT_OF_FOLD or not trained:
            return super().baselines(split, trained)
        return {
            model.name: {f"{split}/{name}": one for name, one in self._held_out(model).metrics().items()}
            for model in (Majority(), LogisticRegression())
        }

    def _held_out(self, model: ClassifierBaseline) -> OutOfFold:
        rows, truth, found = self.texts("train"), self.truth("train"), self.found
        counted, said = model.count(rows), np.zeros_like(found.probabilities)
        for number in np.unique(found.fold):
            inside = found.fold == number
            others = np.setdiff1d(np.arange(len(rows)), found.index[inside])
            fitted = model.fit(counted[others], truth[others], len(self.labels))
            said[inside] = fitted.probabilities([rows[row] for row in found.index[inside]])
        return replace(found, probabilities=said)


def finish(cfg: Config, job: Job, source: Source, folders: Sequence[RunFolder]) -> float:
    """Makes one run of the folds, measures it, and returns the monitored figure, of held-out rows, for sweeps.

    Networks answer together, by the mean of their log-probabilities; a classical classifier is fitted once more, to all rows.
    """
    folder = job.folder
    members = [(number, load_run(one.path, cfg.paths.logs)) for number, one in enumerate(folders, 1)]
    found = OutOfFold.gather(members, source, cfg.folds)
    found.save(folder)
    ours: Classifier
    if "baseline" in cfg:
        ours = baseline.fit(cfg, folder, source)
    else:
        write_members(folder, [Member(one.path.name, 1 / len(folders)) for one in folders])
        folder.write_json("labels.json", list(members[0][1].labels))
        ours = RunOfMembers(folder, cfg, members[0][1].labels, [(one, 1 / len(members)) for _, one in members])
    scorer = HeldOutScorer(ours, source, found)
    splits = [OUT_OF_FOLD, *(split for split in source.splits() if split != "train")]
    hardware = Config({"accelerator": (cfg.get("trainer") or {}).get("accelerator")})
    results = {split: scorer.score(split, hardware) for split in splits}
    write_rows(folder, scorer.texts(OUT_OF_FOLD), results[OUT_OF_FOLD].predictions)
    write_results(folder, scorer, results)
    metrics = over_folds(folders) | flat(results.items())
    folder.write_json("metrics.json", metrics)
    if "baseline" in cfg:
        beside = figures([Majority()], scorer, splits)
    else:
        beside = scorer.baselines(splits[-1], cfg.baselines)
    if beside:
        folder.write_json("baselines.json", beside)
    show_table({**beside, ours.name: metrics})
    log_finished(cfg, replace(job, group=job.group or folder.path.name))  # that of its folds
    for one in over_folds(folders).values():
        if one.metric is not None and one.metric.shown == "table":
            log.info("%s, mean of %d folds: %s", one.metric, one.n, one)
    name = cfg.monitor.rpartition("/")[2]
    return metrics[f"{OUT_OF_FOLD}/{name}"].value if f"{OUT_OF_FOLD}/{name}" in metrics else float("nan")


def write_rows(folder: RunFolder, texts: Sequence[Row], told: Sequence[Mapping[str, Any]]) -> None:
    """``out_of_fold.jsonl``: what was said of each row that was held out, with its texts."""
    lines = [json.dumps(finite({**texts[row["index"]], **row}), ensure_ascii=False) for row in told]
    write_text(folder.path / ROWS, "".join(f"{line}\n" for line in lines))
