"""Numbers of a trained model on a whole split: with intervals, baselines beside them, and every prediction kept."""

from __future__ import annotations

import logging
from typing import Any

from lightning.pytorch import Trainer
from omegaconf import DictConfig

from groundup.baselines.classification import bag_of_words, majority
from groundup.data.datamodule import TextDataModule
from groundup.metrics.estimate import Estimate
from groundup.runs.folder import RunFolder
from groundup.runs.table import print_table
from groundup.tasks.base import Task

log = logging.getLogger(__name__)

Results = dict[str, dict[str, Estimate]]  # split -> metric -> estimate


def evaluate(task: Task, data: TextDataModule, split: str, trainer_config: DictConfig) -> tuple[dict[str, Estimate], list[dict]]:
    """One full pass over a split, in one process: metrics with 95 % intervals, and one prediction a row."""
    trainer = Trainer(
        accelerator=trainer_config.accelerator,
        devices=1,
        precision=trainer_config.precision,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    task.intervals = True
    run = trainer.validate if split == "validation" else trainer.test
    run(task, datamodule=data, verbose=False)
    task.intervals = False
    return task.results, task.predictions


def write_results(folder: RunFolder, data: TextDataModule, results: dict[str, tuple[dict[str, Estimate], list[dict]]]) -> None:
    """metrics.json for all splits; predictions.jsonl, with the texts, for the last of them."""
    metrics = {f"{split}/{name}": estimate for split, (values, _) in results.items() for name, estimate in values.items()}
    folder.write_json(folder.metrics_json, {name: estimate.as_dict() for name, estimate in metrics.items()})
    split, (_, predictions) = list(results.items())[-1]
    if predictions:
        rows = data.texts(split)
        folder.write_jsonl(folder.predictions, [{**rows[row["index"]], **row} for row in predictions])


def compare_with_baselines(folder: RunFolder, data: TextDataModule, splits: list[str]) -> dict[str, Results]:
    """Classical models trained on the same split and scored by the same code, for the report."""
    train, names = data.texts("train"), list(data.facts.labels)
    found: dict[str, Any] = {"majority class": {}, "bag-of-words logistic regression": {}}
    for split in splits:
        rows = data.texts(split)
        for name, baseline in zip(found, (majority, bag_of_words), strict=True):
            found[name] |= {f"{split}/{metric}": value for metric, value in baseline(train, rows, names).items()}
    folder.write_json(
        folder.path / "baselines.json",
        {name: {metric: estimate.as_dict() for metric, estimate in values.items()} for name, values in found.items()},
    )
    return found
