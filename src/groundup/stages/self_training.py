"""What a teacher says of rows without a label, written down as rows to learn from."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

from groundup.config.tree import Config
from groundup.data.pseudo_labels import PseudoLabels
from groundup.data.sources.source import Source
from groundup.errors import UserError
from groundup.stages.build import source_of, task_class, task_word
from groundup.stages.loading import load_run
from groundup.system.files import write_text

log = logging.getLogger(__name__)


def source_to_label(cfg: Config) -> Source:
    """The data of a self-training. Raises UserError for a task without classes, and data in which each row has a label."""
    task = task_class(cfg)
    if "probability" not in task.answers:
        raise UserError(
            f"self_training is for tasks that give a text one class, and task={task_word(task)} does not. "
            "Try self_training=null"
        )
    source = source_of(cfg)
    if source.further_fingerprint() is None:
        raise UserError(
            "self_training needs rows without labels. Try data.labelled=500, which takes the labels of the others for "
            "unknown, or data.unlabelled=FILES"
        )
    return source


def write_pseudo_labels(teacher: Path, source: Source, recipe: PseudoLabels, file: Path, logs: str) -> None:
    """Writes the rows without a label that ``recipe`` chooses, with ``label`` and ``weight``, one JSON object a line.

    Raises UserError for a teacher that knows other classes than the labelled rows have.
    """
    run = load_run(teacher, logs)
    counts = Counter(row["label"] for row in source.rows("train"))
    if strange := sorted(set(run.labels) ^ set(counts)):
        raise UserError(f"self_training.teacher={teacher}: it and the data differ in the class '{strange[0]}'")
    rows = list(source.without_labels())
    probabilities = run.probabilities(rows)  # (N, C)
    predicted = [run.labels[best] for best in probabilities.argmax(axis=1).tolist()]
    probability: list[float] = probabilities.max(axis=1).tolist()
    chosen = recipe.choose(predicted, probability, counts)
    found = Counter(predicted[number] for number in chosen)
    shares = ", ".join(f"{name} {count:,}" for name, count in found.most_common(10))
    log.info(
        "pseudo-labels: %s of %s rows without a label%s", f"{len(chosen):,}", f"{len(rows):,}", shares and f": {shares}"
    )
    if not chosen:
        log.warning("no row without a label is sure enough to learn from: self_training.threshold=%g", recipe.threshold)
    lines = ({**rows[number], "label": predicted[number], "weight": weight} for number, weight in chosen.items())
    write_text(file, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
