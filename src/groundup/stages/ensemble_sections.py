"""What the report of an ensemble shows: what each member brings, and how much better all together are than each alone."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from groundup.metrics.classification import ACCURACY, MACRO_F1, judge_classes
from groundup.metrics.estimate import Estimate, Metric
from groundup.metrics.paired import Part, difference
from groundup.metrics.sections import Section, Table
from groundup.stages.experts import Expert, fit_weights
from groundup.stages.folds import OutOfFold
from groundup.stages.members import fused

log = logging.getLogger(__name__)


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
