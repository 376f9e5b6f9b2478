"""Numbers of a trained model on a whole split: with intervals, baselines beside them, and every prediction kept."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from groundup.baselines.baseline import Baseline, Texts, figures
from groundup.config.tree import Config
from groundup.data.roles import Row
from groundup.data.text_data import TextData
from groundup.metrics.estimate import Estimate
from groundup.metrics.sections import Section
from groundup.report.table import show_table
from groundup.runs.folder import RunFolder
from groundup.stages.outputs import log_statuses
from groundup.system.hardware import SHORT, accelerator_here
from groundup.system.signals import as_keyboard_interrupt
from groundup.tasks.attribution import explanations
from groundup.tasks.base import Task
from groundup.tasks.evaluation import Results, evaluate, flat

log = logging.getLogger(__name__)
LIMITS = {"validation": "limit_val_batches", "test": "limit_test_batches"}  # Lightning's names
TYPES = {"bf16": torch.bfloat16, "16": torch.float16, "32": torch.float32, "64": torch.float64}


class Scorer(Protocol):
    """A run before rows with right answers, whatever is inside the run."""

    def texts(self, split: str) -> list[Row]:
        """The rows of a split, role -> text."""
        ...

    def score(self, split: str, hardware: Config) -> Results:
        """Figures of a split, and an answer for each of its rows. ``hardware``: a trainer's keys, or ``evaluate``'s."""
        ...

    def sections(self, rows: list[dict[str, Any]], split: str) -> list[Section]:
        """What the report shows of ``rows``, the predictions of a split with their texts."""
        ...

    def explanations(self, rows: list[dict[str, Any]], split: str, count: int) -> list[Section]:
        """What the answers to ``count`` of those rows come from. Raises UserError where nothing can be said."""
        ...

    def across(self, results: Mapping[str, Results]) -> dict[str, Estimate]:
        """Figures for which something is fitted on one split and measured on another."""
        ...

    def baselines(self, split: str, trained: bool) -> dict[str, dict[str, Estimate]]:
        """Classical answers to the same split, by name; those that must be trained only if asked for."""
        ...


class NetworkScorer:
    """A task with its model before the rows of ``data``."""

    def __init__(self, task: Task, data: TextData) -> None:
        self.task, self.data = task, data

    def texts(self, split: str) -> list[Row]:
        return self.data.texts(split)

    def score(self, split: str, hardware: Config) -> Results:
        """One pass over a split, in one process: all of it, unless ``hardware`` limits its batches as for Lightning's trainer."""
        self.data.examples(split)
        self.data.check_lengths(self.task.model.max_length)
        limit = limit_of(split, hardware)
        if limit is not None:
            log.info("%s: %s=%s, so not all of it is evaluated", split, LIMITS[split], limit)
            batches = len(self.data.loader(split, self.task.collator()))
            limit = max(1, int(limit * batches)) if isinstance(limit, float) else limit
        precision = str(hardware.precision)
        kind, _, how = SHORT.get(precision, precision).partition("-")
        if how == "true":
            self.task.to(TYPES[kind])
        device, autocast = accelerator_here(hardware.accelerator) or "cpu", TYPES[kind] if how == "mixed" else None
        with as_keyboard_interrupt():
            return evaluate(self.task, self.data, split, device, autocast, limit)

    def sections(self, rows: list[dict[str, Any]], split: str) -> list[Section]:
        return self.task.sections(rows, self.data, split)

    def explanations(self, rows: list[dict[str, Any]], split: str, count: int) -> list[Section]:
        return explanations(self.task, self.data, split, rows, count)

    def across(self, results: Mapping[str, Results]) -> dict[str, Estimate]:
        return self.task.across(results)

    def baselines(self, split: str, trained: bool) -> dict[str, dict[str, Estimate]]:
        return beside(self.task.classical(), self.data, split, trained)


def beside(model: Baseline | None, data: Texts, split: str, asked: bool) -> dict[str, dict[str, Estimate]]:
    """What a classical model and a simpler one reach on a split; if it takes time, only where it is ``asked`` for."""
    if model is None or not (asked or model.quick):
        return {}
    return figures([model.simpler(), model], data, [split])


def limit_of(split: str, hardware: Config) -> int | float | None:
    """How many batches of the split are evaluated, or which share of them; None: all."""
    limit = hardware.get(LIMITS[split])
    return None if isinstance(limit, float) and limit == 1.0 else limit  # the whole number 1 is one batch


def whole_batches(hardware: Config, batches: Mapping[str, int]) -> None:
    """Makes one batch of a share that is less: Lightning refuses it. ``batches``: how many there are, by the limit's name."""
    for name, there in batches.items():
        share = hardware.get(name)
        if isinstance(share, float) and 0 < share * there < 1:
            log.warning("trainer.%s=%g of %d batches is less than one: it is one", name, share, there)
            hardware[name] = 1


def write_results(folder: RunFolder, scorer: Scorer, results: Mapping[str, Results], explain: int = 0) -> None:
    """Metrics of all splits; of the last of them every prediction with its texts, and what the report shows of it.

    ``explain``: rows whose tokens are coloured by what they add to the answer.
    """
    folder.write_json("metrics.json", {**flat(results.items()), **scorer.across(results)})
    for split, found in results.items():
        log_statuses(Counter(row.get("status", "ok") for row in found.predictions), f"{split} rows")
    split, last = list(results.items())[-1]
    texts = scorer.texts(split) if any("index" in row for row in last.predictions) else []
    rows = [{**texts[row["index"]], **row} if "index" in row else row for row in last.predictions]
    if rows:
        folder.write_predictions(rows)
    told = scorer.explanations(rows, split, explain) if explain else []
    folder.write_json("sections.json", [*scorer.sections(rows, split), *told])


def compare_with_baselines(
    folder: RunFolder, scorer: Scorer, split: str, trained: bool
) -> dict[str, dict[str, Estimate]]:
    """Classical answers to the same split, scored by the same code; those that must be trained only if asked for."""
    if baselines := scorer.baselines(split, trained):
        folder.write_json("baselines.json", baselines)
    elif trained:
        log.warning("baselines=true: there is no classical model of this task, so nothing stands beside its figures")
    return baselines


def print_results(
    results: Mapping[str, Results], baselines: Mapping[str, Mapping], label: str, brief: bool = False
) -> None:
    """One table: the baselines, then the model; ``brief``: a line, of a run that is one of many."""
    if brief:
        for split, found in results.items():
            main = [one for one in found.metrics.values() if one.metric and one.metric.shown == "table"]
            log.info("%s: %s", split, ", ".join(f"{one.metric} {one}" for one in main))
        return
    show_table({**baselines, label: flat(results.items())})
