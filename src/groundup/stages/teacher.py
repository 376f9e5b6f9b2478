"""``teacher=RUN``: a finished run, and what it says of the rows, or the batches, of a training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from groundup.config.tree import Config
from groundup.data.text_data import UNLABELLED, TextData
from groundup.errors import UserError
from groundup.runs.job import Job
from groundup.runs.reference import EARLIER, open_run
from groundup.stages.answering import Answering
from groundup.stages.build import model_class, task_class, task_word
from groundup.stages.loading import load_network, load_run
from groundup.stages.network import NetworkRun
from groundup.system.arrays import read_arrays, write_arrays
from groundup.system.files import damaged
from groundup.text.tokenizer import Tokenizer
from groundup.training.distillation import Distillation, LiveTeacher

log = logging.getLogger(__name__)
FILE = "teacher.npz"  # what it says of each split, by its name: log-probabilities (N, C), or numbers (N,)


def reads_batches(cfg: Config) -> bool:
    """Whether the teacher reads each batch beside the student, and so must share its tokenizer."""
    return bool(cfg.get("teacher")) and (task_class(cfg).taught_by == "batches" or bool(cfg.get("hidden")))


def check_student(cfg: Config) -> None:
    """Raises UserError where there is a teacher, and the task is none that can learn from it."""
    if not cfg.get("teacher"):
        return
    word, chain = task_word(task_class(cfg)), cfg.at("task.crf")
    if task_class(cfg).taught_by is None or chain:
        raise UserError(
            "distill is for tasks that tell how likely each class, tag or token is by itself, or a number, and "
            f"task={word}{' with a CRF' if chain else ''} does not. Try {'task.crf=false' if chain else 'task=classification'}"
        )
    if cfg.data.get("unlabelled") and word != "classification":
        raise UserError(f"task={word} learns of a teacher from its own rows. Leave data.unlabelled out")
    if cfg.hidden and (cfg.compile or model_class(cfg).kind == "encoder_decoder"):
        raise UserError(f"hidden={cfg.hidden:g} is for models of one side that are not compiled. Try hidden=0")


def teacher_tokenizer(cfg: Config, overrides: Sequence[str]) -> Tokenizer | None:
    """That of a teacher which reads the batches of its student; None where it does not.

    Raises UserError where the command line asks for another.
    """
    if not reads_batches(cfg) or isinstance(cfg.init_from, str):
        return None
    folder = open_run(cfg.teacher, Path(cfg.paths.logs), "network")
    theirs = folder.read_config().get("tokenizer")
    asked = next((one for one in overrides if one.lstrip("+").startswith(("tokenizer=", "tokenizer."))), None)
    if asked and dict(cfg.tokenizer) != theirs:
        raise UserError(
            f"{asked}: the teacher reads what the student reads, and {folder.path} has a tokenizer of its own, which differs. "
            f"Leave {asked} out"
        )
    cfg.tokenizer = theirs
    return Tokenizer.load(folder.tokenizer)


def distillation(cfg: Config, job: Job, data: TextData) -> Distillation | None:
    """What ``teacher`` adds to the callbacks of a training; None where there is none.

    Raises UserError for a teacher of other classes, another task or, where it reads batches, another tokenizer.
    """
    if not cfg.get("teacher"):
        return None
    by_rows = task_class(cfg).taught_by == "rows"
    answers = answers_once(cfg, job, data) if by_rows and (cfg.alpha or not cfg.hidden) else {}
    if not reads_batches(cfg):
        return Distillation(answers, cfg.alpha, cfg.temperature)
    run = load_network(cfg.teacher, cfg.paths.logs, use="network")
    cfg.teacher = str(run.folder.checkpoint or run.folder.path)  # `last` would be another run tomorrow
    check_teacher(run, cfg, data)
    classes = None if not data.labels else places_of(run, data)
    return LiveTeacher(run.task, classes, answers, cfg.alpha, cfg.temperature, cfg.hidden)


def check_teacher(run: NetworkRun, cfg: Config, data: TextData) -> None:
    """Raises UserError for a teacher that cannot read the batches of the training."""
    where = f"teacher={run.folder.path}"
    task, wanted = type(run.task), task_class(cfg)
    if task is not wanted:
        raise UserError(f"{where} was trained for task={task_word(task)}. Use one of task={task_word(wanted)}")
    if run.task.taught_by is None:
        raise UserError(f"{where} has a CRF, whose scores are no probabilities. Use one of task.crf=false")
    if run.task.model.kind != model_class(cfg).kind:
        raise UserError(
            f"{where} is of another kind ({run.task.model.kind}) and reads other batches. Use a teacher of the student's kind"
        )
    if run.tokenizer.fingerprint != data.tokenizer.fingerprint:
        raise UserError(f"{where}: its tokenizer and the student's differ. Leave init_from and tokenizer out")
    spelled = bool(cfg.model.get("characters"))
    if run.task.model.reads_characters != spelled:
        raise UserError(
            f"{where} {'does not read' if spelled else 'reads'} the spelling of words. "
            f"Try model.characters={'null' if spelled else run.config.model.characters}"
        )
    longest = run.task.model.max_length
    for split in data.report:
        if longest is not None and data.examples(split).longest > longest:
            raise UserError(f"{where} reads {longest} tokens at most. Try batching.max_length={longest}")


def answers_once(cfg: Config, job: Job, data: TextData) -> dict[str, torch.Tensor]:
    """What the teacher says of all rows, which it reads once, as they stand in the data, with its own tokenizer.

    That is kept in the run folder: a resume finds the same, and needs no teacher.
    """
    if task_word(task_class(cfg)) == "classification" and next(iter(data.source.without_labels()), None) is not None:
        data.examples(UNLABELLED)
    splits = [split for split in ("train", UNLABELLED) if split in data.report]
    file = job.folder.path / EARLIER / FILE
    if not file.exists() and job.is_main:
        teacher = load_run(cfg.teacher, cfg.paths.logs, use="predict")
        cfg.teacher = str(teacher.folder.checkpoint or teacher.folder.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(file, {split: answers_of(teacher, data, split) for split in splits})
    if not file.exists():  # torchrun and srun begin all processes at once
        raise UserError(
            "the first process reads what the teacher says before the others begin, which it starts by itself. "
            "Try the command without torchrun or srun, with trainer=ddp trainer.devices=2"
        )
    known = read_arrays(file)
    answers = {split: torch.from_numpy(known.get(split, np.zeros(0))) for split in splits}
    for split, said in answers.items():
        wanted = (len(data.examples(split).lengths(training=True)), *([len(data.labels)] if data.labels else []))
        if tuple(said.shape) != wanted:
            raise damaged(file, f"it has {tuple(said.shape)} answers for {wanted} of {split}")
    return answers


def places_of(teacher: Answering, data: TextData) -> list[int]:
    """Where the teacher has each class of the data. Raises UserError for a teacher that knows other classes."""
    ours, theirs = data.labels, teacher.labels
    if strange := sorted(set(ours) ^ set(theirs)):
        who = "the data has" if strange[0] in ours else "the teacher knows"
        raise UserError(
            f"teacher={teacher.folder.path}: {who} the class '{strange[0]}', and "
            f"{'the teacher does not' if strange[0] in ours else 'the data does not'}. Try a teacher trained on the same classes"
        )
    return [theirs.index(name) for name in ours]


def answers_of(teacher: Answering, data: TextData, split: str) -> np.ndarray:
    """What the teacher says of a split: log-probabilities (N, C) float32, in the order of the data's classes; or numbers
    (N,) in deviations from the mean of the training's.
    """
    rows = data.texts("train") if split == "train" else list(data.source.without_labels())
    places = places_of(teacher, data)
    if not places and "predicted" not in task_class(teacher.config).answers:
        raise UserError(f"teacher={teacher.folder.path} answers no number. Use one of task=regression")
    log.info("the teacher, %s (%s), answers %s rows of %s", teacher.folder.path, teacher.name, f"{len(rows):,}", split)
    if not places:
        assert data.facts.scale is not None
        mean, deviation, *_ = data.facts.scale
        return np.array([(one["predicted"] - mean) / deviation for one in teacher.answer(rows)], dtype=np.float32)
    found = teacher.probabilities(rows)[:, places]
    return np.log(np.maximum(found, np.finfo(np.float32).tiny)).astype(np.float32)
