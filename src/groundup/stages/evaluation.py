"""Numbers of a trained model on a whole split: with intervals, baselines beside them, and every prediction kept."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

from lightning.pytorch import Trainer

from groundup.config.tree import Config
from groundup.data.datamodule import TextDataModule
from groundup.metrics.estimate import Estimate
from groundup.metrics.intervals import RESAMPLES
from groundup.report.table import show_table
from groundup.runs.folder import RunFolder
from groundup.runs.outputs import log_statuses
from groundup.system.signals import as_keyboard_interrupt
from groundup.tasks.base import Task

log = logging.getLogger(__name__)
LIMITS = {"validation": "limit_val_batches", "test": "limit_test_batches"}  # Lightning's names
Evaluated = tuple[dict[str, Estimate], list[dict]]  # metrics of a split, and one prediction a row


def evaluate(task: Task, data: TextDataModule, split: str, hardware: Config) -> Evaluated:
    """One pass over a split, in one process: metrics with 95 % intervals, and one prediction a row.

    All of the split, unless ``hardware`` limits its batches as for Lightning's trainer.
    """
    limit = limit_of(split, hardware)
    if limit is not None:
        log.info("%s: %s=%s, so not all of it is evaluated", split, LIMITS[split], limit)
    trainer = Trainer(
        limit_val_batches=limit,
        limit_test_batches=limit,
        accelerator=hardware.accelerator,
        devices=1,
        precision=hardware.precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    task.resamples = RESAMPLES
    run = trainer.validate if split == "validation" else trainer.test
    with as_keyboard_interrupt():
        run(task, datamodule=data, verbose=False)
    task.resamples = 0
    return task.results, task.predictions


def limit_of(split: str, hardware: Config) -> int | float | None:
    """How many batches of the split are evaluated, or which share of them; None: all."""
    limit = hardware.get(LIMITS[split])
    return None if isinstance(limit, float) and limit == 1.0 else limit  # the whole number 1 is one batch


def write_results(folder: RunFolder, task: Task, data: TextDataModule, results: Mapping[str, Evaluated]) -> None:
    """metrics.json for all splits; predictions.jsonl, with the texts, for the last of them, and what the
    report shows of them."""
    folder.write_json("metrics.json", flat(results))
    for split, (_, predictions) in results.items():
        log_statuses(Counter(row.get("status", "ok") for row in predictions), f"{split} rows")
    split, (_, predictions) = list(results.items())[-1]
    texts = data.texts(split) if predictions else []
    rows = [{**texts[row["index"]], **row} for row in predictions]
    if rows:
        folder.write_predictions(rows)
    folder.write_json("sections.json", task.sections(rows, data, split))


def compare_with_baselines(
    folder: RunFolder, task: Task, data: TextDataModule, split: str, trained: bool
) -> dict[str, dict[str, Estimate]]:
    """Classical answers to the same split, scored by the same code; those that must be trained only if asked for."""
    if task.baselines_are_trained and not trained:
        return {}
    if baselines := task.baselines(data, split):
        folder.write_json("baselines.json", baselines)
    return baselines


def print_results(results: Mapping[str, Evaluated], baselines: Mapping[str, Mapping], label: str) -> None:
    """One table: the baselines, then the model."""
    show_table({**baselines, label: flat(results)})


def flat(results: Mapping[str, Evaluated]) -> dict[str, Estimate]:
    """``{"test/accuracy": Estimate, ...}`` of all splits."""
    return {
        f"{split}/{name}": estimate for split, (metrics, _) in results.items() for name, estimate in metrics.items()
    }
