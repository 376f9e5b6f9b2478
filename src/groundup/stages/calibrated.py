"""Calibrated answers: those of a run, with the temperature that it has fitted on its validation split."""

from __future__ import annotations

import math
from collections.abc import Sequence

from groundup.errors import UserError
from groundup.metrics.calibration import TEMPERATURE, rescaled, scaled
from groundup.metrics.classes import NAMED, probability_table
from groundup.metrics.classification import classification_metrics
from groundup.runs.checkpoints import BEST
from groundup.runs.folder import RunFolder
from groundup.system.files import damaged
from groundup.tasks.base import Task
from groundup.tasks.evaluation import Results

KEY = f"validation/{TEMPERATURE.name}"


def temperature_of(folder: RunFolder, task: type[Task]) -> float:
    """The temperature of the run in ``folder``.

    Raises UserError: a task that gives a text no one class, no temperature, or another checkpoint than the one it is of.
    """
    if "probability" not in task.answers:
        raise UserError(
            f"calibrated=true is for tasks that give a text one class, and {folder.path} was trained for {task.__name__}. "
            "Leave it out"
        )
    if folder.checkpoint is not None and folder.checkpoint.name != BEST:
        raise UserError(f"calibrated=true: the temperature is that of {BEST}. Try run={folder.path}")
    saved = folder.read_json("metrics.json", {}).get(KEY)
    if saved is None:
        raise UserError(
            f"calibrated=true: {folder.path} has no temperature, which is fitted on a validation split, of {NAMED} classes "
            "at most. Leave it out, or train with data.validation=FILE"
        )
    value = saved.get("value") if isinstance(saved, dict) else None
    if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise damaged(folder.metrics_json, f"{KEY} is no temperature")
    return float(value)


def calibrated(found: Results, labels: Sequence[str], temperature: float) -> Results:
    """The same answers by probabilities at ``temperature``: what changes is how sure they are."""
    table = probability_table(found.predictions, labels)
    assert table is not None, "a temperature was fitted to the probabilities of all classes"
    probabilities, truth = table
    metrics = classification_metrics(scaled(probabilities, temperature), truth)
    return Results(metrics, [rescaled(row, temperature) for row in found.predictions])
