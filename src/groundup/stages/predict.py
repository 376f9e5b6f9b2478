"""``groundup predict``: one answer for each row of a file, in the file's order, in memory that does not grow with it."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from groundup.config.tree import Config
from groundup.data.precheck import READING, for_predict
from groundup.data.reading import Reading, format_of, read, suffix_of
from groundup.data.roles import ROLES
from groundup.data.rows import roles
from groundup.data.sources.files import FILES
from groundup.errors import UserError
from groundup.metrics.calibration import rescaled
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.reference import open_run
from groundup.stages.answering import Answering
from groundup.stages.build import prepare_process, task_class
from groundup.stages.calibrated import temperature_of
from groundup.stages.loading import load_run
from groundup.stages.outputs import json_line, lines_of, log_statuses
from groundup.tasks.base import Task

log = logging.getLogger(__name__)
ABOUT = ("status", "unknown_tokens")  # what is told of a row beside the task's answer


def run(cfg: Config, job: Job) -> None:
    """Reads ``input``; writes ``output``: .jsonl with the row's own columns and the prediction, or .txt with the text."""
    prepare_process(cfg.threads)
    source, output = Path(cfg.input), Path(cfg.output)
    with lines_of(output) as write:  # what cannot be written shows before the model is loaded
        folder = open_run(cfg.run, Path(cfg.paths.logs), "predict")
        task = task_class(Config(folder.read_config()))
        check_task(task, folder, output, cfg.prefix)
        temperature = temperature_of(folder, task) if cfg.calibrated else None
        loaded = load_run(folder.checkpoint or folder.path, cfg.paths.logs, decoding=cfg.get("decoding"))
        check_columns_named(cfg, task, loaded.reads)
        reading = reading_of(loaded, cfg)
        columns = columns_of(source, loaded, {role: cfg.get(role) for role in loaded.reads})
        if task.examples.cuts_text and cfg.get(loaded.reads[0]) is None:
            columns = columns_of_text(source, reading, columns, cfg.text) or columns
        check_rows(source, reading, columns)  # a broken last line shows before the first answer
        taken, counts = {*task.answers, *ABOUT}, Counter[str]()
        renamed: set[str] = set()
        raw, rows = itertools.tee(read(source, reading))
        named = (roles(row, columns, None, where) for where, row in rows)
        predictions = loaded.answer(named, cfg.batch_size, cfg.accelerator, cfg.seed, cfg.prefix)
        if temperature is not None:
            predictions = (rescaled(prediction, temperature) for prediction in predictions)
        for (_, row), prediction in zip(raw, predictions, strict=True):
            if output.suffix == ".txt":  # one line a row, whatever is in it
                write(" ".join(prediction["prediction"].splitlines()))
            else:
                write(json_line({**set_apart(row, taken), **prediction}))
                renamed |= taken & row.keys()
            counts[prediction["status"]] += 1
    log.info("%d rows -> %s", counts.total(), output)
    if renamed:
        names = sorted(renamed)
        log.warning("%s of the input: now %s", ", ".join(names), ", ".join(f"input.{name}" for name in names))
    log_statuses(counts, "rows")


def check_task(task: type[Task], folder: RunFolder, output: Path, prefix: str) -> None:
    """Raises UserError for a task that has no answer, none that ``output`` can hold, or none to begin with ``prefix``."""
    check_answers(task, folder)
    if output.suffix == ".txt" and task.writes != "answer":
        raise UserError(
            f"output={output}: a line each is for tasks that write a text. Try output={output.with_suffix('.jsonl')}"
        )
    if prefix and task.writes != "answer":
        raise UserError(f"prefix={prefix} is for tasks that write a text. Leave it out")


def check_answers(task: type[Task], folder: RunFolder) -> None:
    """Raises UserError for a task that has no answer for a text."""
    if not task.answers:
        raise UserError(
            f"{folder.path} was trained for {task.__name__}, which has no answer for a text. "
            f"Fine-tune it first: groundup finetune init_from={folder.path} data=NAME"
        )


def check_columns_named(cfg: Config, task: type[Task], reads: Sequence[str]) -> None:
    """Raises UserError for a column of what the task does not read."""
    for role in ROLES:
        if cfg.get(role) is not None and role not in reads and not (role == "text" and task.examples.cuts_text):
            raise UserError(f"{role}={cfg[role]}: {task.__name__} reads {' and '.join(reads)}. Leave it out")


def columns_of(path: Path, loaded: Answering, named: Mapping[str, str | None]) -> dict[str, str]:
    """Role -> column of the file: as ``named`` on the command line, else as in training, else called like the role."""
    first, trained, fixed = loaded.reads[0], loaded.config.data, format_of(path).COLUMNS
    if len(fixed) == 1 < len(loaded.needed):
        raise UserError(
            f"input={path}: a {suffix_of(path)} has one text a row, and this run reads {' and '.join(loaded.needed)}. "
            f"Try input={path.with_suffix('.jsonl')}"
        )
    if len(fixed) == 1:
        return {first: named[first] or fixed[0]}
    own = trained if trained["_target_"] == FILES else {}  # a set made by code names its rows by their roles
    found = {role: named[role] or (role if role in fixed else own.get(role)) for role in loaded.reads}
    found = {role: column or (role if role in loaded.needed else None) for role, column in found.items()}
    return {role: str(column) for role, column in found.items() if column is not None}


def columns_of_text(
    path: Path, reading: Reading, columns: Mapping[str, str], text: str | None
) -> dict[str, str] | None:
    """The column of a running text that is to be cut into words: ``text``, or the one of this name in a file that has no
    column of words. None: there are words."""
    if text is None:
        (column,) = columns.values()
        _, row = next(read(path, reading))
        if "text" not in row or (column in row and column != "text"):
            return None
    return {"text": text or "text"}


def reading_of(loaded: Answering, cfg: Config) -> Reading:
    """How the file is read: as named on the command line, else as the files of training; a line of a .txt is a text."""
    own = loaded.config.data if loaded.config.data["_target_"] == FILES else {}
    return Reading("line", **{name: cfg[name] or own.get(name) for name in READING})


def check_rows(path: Path, reading: Reading, columns: Mapping[str, str]) -> None:
    """Raises UserError for a file that cannot be read to its end, naming options as this command has them."""
    try:
        for where, row in read(path, reading):
            roles(row, columns, None, where)
    except UserError as error:
        raise for_predict(error) from error


def set_apart(row: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """The row's columns, those that an answer may be ``taken`` for under another name: ``input.NAME``."""
    names = {*taken}
    kept: dict[str, Any] = {}
    for name, value in row.items():
        while name in names:
            name = f"input.{name}"
        kept[name] = value
        names.add(name)
    return kept
