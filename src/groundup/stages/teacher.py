"""``teacher=RUN``: any run that tells probabilities of classes, and what it says of the rows of a training."""

from __future__ import annotations

import logging

import numpy as np
import torch

from groundup.config.tree import Config
from groundup.data.text_data import UNLABELLED, TextData
from groundup.errors import UserError
from groundup.runs.job import Job
from groundup.runs.reference import EARLIER
from groundup.stages.answering import Answering
from groundup.stages.build import task_class, task_word
from groundup.stages.loading import load_run
from groundup.system.arrays import read_arrays, write_arrays
from groundup.system.files import damaged
from groundup.training.distillation import Distillation

log = logging.getLogger(__name__)
FILE = "teacher.npz"  # log-probabilities (N, C) of each split, by its name


def check_student(cfg: Config) -> None:
    """Raises UserError where there is a teacher, and the task is none that can learn from it."""
    task = task_class(cfg)
    if cfg.get("teacher") and not {"predicted", "probability"} <= {*task.answers}:
        raise UserError(
            f"distill is for tasks that give a text one class, and task={task_word(task)} does not. Try task=classification"
        )


def distillation(cfg: Config, job: Job, data: TextData) -> Distillation | None:
    """What ``teacher`` adds to the callbacks of a training; None where there is none.

    The teacher reads all rows once, each text as it stands in the data, with its own tokenizer. What it says is kept in
    the run folder: a resume finds the same, and needs no teacher.

    Raises UserError for a teacher of other classes.
    """
    if not cfg.get("teacher"):
        return None
    if next(iter(data.source.without_labels()), None) is not None:
        data.examples(UNLABELLED)
    splits = [split for split in ("train", UNLABELLED) if split in data.report]
    file = job.folder.path / EARLIER / FILE
    if not file.exists() and job.is_main:
        teacher = load_run(cfg.teacher, cfg.paths.logs, use="predict")
        cfg.teacher = str(teacher.folder.checkpoint or teacher.folder.path)  # `last` would be another run tomorrow
        file.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(file, {split: answers_of(teacher, data, split) for split in splits})
    known = read_arrays(file)
    answers = {split: torch.from_numpy(known.get(split, np.zeros(0))) for split in splits}
    for split, said in answers.items():
        wanted = (len(data.examples(split).lengths(training=True)), len(data.labels))
        if tuple(said.shape) != wanted:
            raise damaged(file, f"it has {tuple(said.shape)} answers for {wanted} of {split}")
    return Distillation(answers, cfg.alpha, cfg.temperature)


def answers_of(teacher: Answering, data: TextData, split: str) -> np.ndarray:
    """What the teacher says of a split: log-probabilities (N, C) float32, in the order of the data's classes.

    Raises UserError for a teacher that knows other classes.
    """
    ours, theirs = data.labels, teacher.labels
    if strange := sorted(set(ours) ^ set(theirs)):
        who = "the data has" if strange[0] in ours else "the teacher knows"
        raise UserError(
            f"teacher={teacher.folder.path}: {who} the class '{strange[0]}', and "
            f"{'the teacher does not' if strange[0] in ours else 'the data does not'}. Try a teacher trained on the same classes"
        )
    rows = data.texts("train") if split == "train" else list(data.source.without_labels())
    log.info("the teacher, %s (%s), answers %s rows of %s", teacher.folder.path, teacher.name, f"{len(rows):,}", split)
    found = teacher.probabilities(rows)[:, [theirs.index(name) for name in ours]]
    return np.log(np.maximum(found, np.finfo(np.float32).tiny)).astype(np.float32)
