"""Numbers of a trained model on a whole split: with intervals, baselines beside them, and every prediction kept."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

import torch

from groundup.config.tree import Config
from groundup.data.text_data import TextData
from groundup.metrics.estimate import Estimate
from groundup.report.table import show_table
from groundup.runs.folder import RunFolder
from groundup.stages.outputs import log_statuses
from groundup.system.hardware import SHORT, accelerator_here
from groundup.system.signals import as_keyboard_interrupt
from groundup.tasks.base import Task
from groundup.tasks.evaluation import Results, evaluate, flat

log = logging.getLogger(__name__)
LIMITS = {"validation": "limit_val_batches", "test": "limit_test_batches"}  # Lightning's names
TYPES = {"bf16": torch.bfloat16, "16": torch.float16, "32": torch.float32, "64": torch.float64}


def score(task: Task, data: TextData, split: str, hardware: Config) -> Results:
    """One pass over a split, in one process.

    All of the split, unless ``hardware`` limits its batches as for Lightning's trainer.
    """
    limit = limit_of(split, hardware)
    if limit is not None:
        log.info("%s: %s=%s, so not all of it is evaluated", split, LIMITS[split], limit)
        limit = int(limit * len(data.loader(split, task.collator()))) if isinstance(limit, float) else limit
    precision = str(hardware.precision)
    kind, _, how = SHORT.get(precision, precision).partition("-")
    if how == "true":
        task.to(TYPES[kind])
    with as_keyboard_interrupt():
        return evaluate(
            task,
            data,
            split,
            accelerator_here(hardware.accelerator) or "cpu",
            TYPES[kind] if how == "mixed" else None,
            limit,
        )


def limit_of(split: str, hardware: Config) -> int | float | None:
    """How many batches of the split are evaluated, or which share of them; None: all."""
    limit = hardware.get(LIMITS[split])
    return None if isinstance(limit, float) and limit == 1.0 else limit  # the whole number 1 is one batch


def write_results(folder: RunFolder, task: Task, data: TextData, results: Mapping[str, Results]) -> None:
    """Metrics of all splits; of the last of them every prediction with its texts, and what the report shows of it."""
    folder.write_json("metrics.json", flat(results.items()))
    for split, found in results.items():
        log_statuses(Counter(row.get("status", "ok") for row in found.predictions), f"{split} rows")
    split, last = list(results.items())[-1]
    texts = data.texts(split) if last.predictions else []
    rows = [{**texts[row["index"]], **row} for row in last.predictions]
    if rows:
        folder.write_predictions(rows)
    folder.write_json("sections.json", task.sections(rows, data, split))


def compare_with_baselines(
    folder: RunFolder, task: Task, data: TextData, split: str, trained: bool
) -> dict[str, dict[str, Estimate]]:
    """Classical answers to the same split, scored by the same code; those that must be trained only if asked for."""
    if task.baselines_are_trained and not trained:
        return {}
    if baselines := task.baselines(data, split):
        folder.write_json("baselines.json", baselines)
    return baselines


def print_results(results: Mapping[str, Results], baselines: Mapping[str, Mapping], label: str) -> None:
    """One table: the baselines, then the model."""
    show_table({**baselines, label: flat(results.items())})
