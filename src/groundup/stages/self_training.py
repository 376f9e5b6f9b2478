"""Rows without a label: what a teacher predicts for them, written to a file to learn from; and a teacher during training."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

from groundup.config.build import instantiate
from groundup.config.places import resolve
from groundup.config.tree import Config
from groundup.data.pseudo_labels import PseudoLabels
from groundup.data.sources.labels import label_names
from groundup.data.sources.source import Source
from groundup.errors import UserError
from groundup.stages.build import task_class, task_word
from groundup.stages.loading import load_run
from groundup.system.files import write_text
from groundup.training.averaging import WeightAverage
from groundup.training.mean_teacher import MeanTeacher

log = logging.getLogger(__name__)


def check_self_training(cfg: Config, source: Source) -> None:
    """Raises UserError for a task without classes, and data in which each row has a label."""
    task = task_class(cfg)
    if not {"predicted", "probability"} <= {*task.answers}:
        raise UserError(
            f"self_training is for tasks that give a text one class, and task={task_word(task)} does not. "
            "Try self_training=none"
        )
    if next(iter(source.without_labels()), None) is None:
        raise UserError(
            "self_training needs rows without labels. Try data.labelled=500, which takes the labels of the others for "
            "unknown, or data.unlabelled=FILES"
        )


def mean_teacher(cfg: Config) -> MeanTeacher | None:
    """What ``self_training=mean_teacher`` adds to the callbacks of a training; None where another way is asked for, or none.

    Raises UserError beside ``callbacks.ema`` and ``callbacks.swa``: which average would be validated?
    """
    made = instantiate(cfg.self_training, "self_training") if cfg.get("self_training") else None
    if not isinstance(made, MeanTeacher):
        return None
    for name, node in (cfg.get("callbacks") or {}).items():
        if node and issubclass(resolve(node.get("_target_"), f"callbacks.{name}"), WeightAverage):
            raise UserError(
                "self_training=mean_teacher validates and keeps an average of the weights already: the teacher. Try "
                f"~callbacks.{name}"
            )
    return made


def write_pseudo_labels(teacher: Path, source: Source, recipe: PseudoLabels, file: Path, logs: str) -> None:
    """Writes the rows without a label that ``recipe`` chooses, with ``label`` and ``weight``, one JSON object a line.

    Raises UserError for a teacher that knows other classes than the labelled rows have.
    """
    run = load_run(teacher, logs)
    if strange := sorted(set(run.labels) ^ set(label_names(source)[0])):
        raise UserError(f"self_training.teacher={teacher}: it and the data differ in the class '{strange[0]}'")
    rows = list(source.without_labels())
    probabilities = run.probabilities(rows)  # (N, C)
    predicted = [run.labels[best] for best in probabilities.argmax(axis=1).tolist()]
    probability: list[float] = probabilities.max(axis=1).tolist()
    chosen = recipe.choose(predicted, probability)
    found = Counter(predicted[number] for number in chosen)
    shares = ", ".join(f"{name} {count:,}" for name, count in found.most_common(10))
    log.info(
        "pseudo-labels: %s of %s rows without a label%s", f"{len(chosen):,}", f"{len(rows):,}", shares and f": {shares}"
    )
    if not chosen:
        log.warning("no row without a label is sure enough to learn from: self_training.threshold=%g", recipe.threshold)
    lines = ({**rows[number], "label": predicted[number], "weight": weight} for number, weight in chosen.items())
    write_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
