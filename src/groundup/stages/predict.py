"""``groundup predict``: one answer for each row of a file, in the file's order, in memory that does not grow with it."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from groundup.config.tree import Config
from groundup.data.precheck import READING, for_predict
from groundup.data.reading import Reading, format_of, read
from groundup.data.roles import Row, roles
from groundup.data.seeding import mix
from groundup.data.sources.files import FILES
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.runs.reference import open_run
from groundup.stages.build import prepare_process, task_class
from groundup.stages.loading import LoadedRun, load_run
from groundup.stages.outputs import json_line, lines_of, log_statuses
from groundup.system.hardware import accelerator_here
from groundup.tasks.base import Task
from groundup.tasks.sequence_to_sequence import status_of

log = logging.getLogger(__name__)
BATCHES = 64  # that are sorted by length together: what padding costs is little from here on
CHARACTERS = 1 << 22  # held at a time, at most; a longer text is alone
ABOUT = ("status", "unknown_tokens")  # what is told of a row beside the task's answer


def run(cfg: Config, job: Job) -> None:
    """Reads ``input``; writes ``output``: .jsonl with the row's own columns and the prediction, or .txt with the text."""
    prepare_process(cfg.threads)
    source, output = Path(cfg.input), Path(cfg.output)
    with lines_of(output) as write:  # what cannot be written shows before the model is loaded
        folder = open_run(cfg.run, Path(cfg.paths.logs), "predict")
        check_task(task_class(Config(folder.read_config())), folder, output, cfg.prefix)
        loaded = load_run(folder.checkpoint or folder.path, cfg.paths.logs, decoding=cfg.get("decoding"))
        columns = columns_of(source, loaded, {role: cfg.get(role) for role in loaded.reads})
        reading = reading_of(loaded, cfg)
        check_rows(source, reading, columns)  # a broken last line shows before the first answer
        taken, counts = {*loaded.task.answers, *ABOUT}, Counter[str]()
        renamed: set[str] = set()
        raw, rows = itertools.tee(read(source, reading))
        named = (roles(row, columns, None, where) for where, row in rows)
        predictions = predict_rows(loaded, named, cfg.batch_size, cfg.accelerator, cfg.seed, cfg.prefix)
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
    if not task.answers:
        raise UserError(
            f"{folder.path} was trained for {task.__name__}, which has no answer for a text. "
            f"Fine-tune it first: groundup finetune init_from={folder.path} data=NAME"
        )
    if output.suffix == ".txt" and task.writes != "answer":
        raise UserError(
            f"output={output}: a line each is for tasks that write a text. Try output={output.with_suffix('.jsonl')}"
        )
    if prefix and task.writes != "answer":
        raise UserError(f"prefix={prefix} is for tasks that write a text. Leave it out")


def columns_of(path: Path, loaded: LoadedRun, named: Mapping[str, str | None]) -> dict[str, str]:
    """Role -> column of the file: as ``named`` on the command line, else as in training, else called like the role."""
    first, trained, fixed = loaded.reads[0], loaded.config.data, format_of(path).COLUMNS
    if len(fixed) == 1:
        return {first: named[first] or fixed[0]}
    own = trained if trained["_target_"] == FILES else {}  # a set made by code names its rows by their roles
    needed = loaded.reads[: loaded.facts.parts]
    found = {role: named[role] or (role if role in fixed else own.get(role)) for role in loaded.reads}
    found = {role: column or (role if role in needed else None) for role, column in found.items()}
    return {role: str(column) for role, column in found.items() if column is not None}


def reading_of(loaded: LoadedRun, cfg: Config) -> Reading:
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


def predict_rows(
    loaded: LoadedRun,
    rows: Iterable[Row],
    batch_size: int = 64,
    accelerator: str = "cpu",
    seed: int = 1,
    prefix: str = "",
) -> Iterator[dict[str, Any]]:
    """A prediction for each row (a dict with the roles of training: text, text_pair, or source), in their order.

    Reads so many rows at a time as make full batches of like length, and no more. ``seed``: of decoding by drawing; a
    row's text depends on it and on the row's number alone. ``prefix``: what every text that is written begins with.
    """
    loaded.task.eval().to(device_of(accelerator))
    first = 0
    for block in blocks((loaded.row(row) for row in rows), batch_size * BATCHES):
        yield from predict_block(loaded, block, first, batch_size, seed, prefix)
        first += len(block)


def blocks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    """Lists of at most ``size`` rows and about ``CHARACTERS`` of text."""
    block, characters = [], 0
    for row in rows:
        block.append(row)
        characters += sum(map(len, row.values()))
        if len(block) == size or characters >= CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block


@torch.inference_mode()
def predict_block(
    loaded: LoadedRun, rows: list[Row], first: int, batch_size: int, seed: int, prefix: str = ""
) -> list[dict[str, Any]]:
    """Predictions of rows that are numbered from ``first`` on, with their status."""
    task, writes = loaded.task, loaded.task.writes == "answer"
    answer: Any = task.predict_batch
    if prefix:
        answer = partial(answer, prefix=task.tokenizer.encode(loaded.text(prefix)))
    loader, examples = loaded.data.rows_loader(rows, task.collator(), batch_size)
    predictions: list[dict[str, Any]] = [{} for _ in rows]
    for batch in loader:
        place = batch["index"].tolist()
        if writes:  # rows of their own number draw alike in every batch
            batch["index"] = torch.tensor([mix(seed, first + index) % 2**62 for index in place])
        answers = answer({name: value.to(task.device) for name, value in batch.items()})
        for index, found in zip(place, answers, strict=True):
            predictions[index] = found
    about = zip(predictions, examples.statuses(rows), examples.unknown_tokens.tolist(), strict=True)
    for prediction, status, strange in about:
        if writes and status == "empty":  # a model would make something up
            prediction.clear()
            prediction["prediction"] = ""
        prediction["status"] = status_of(status, prediction.get("finished", True))
        if strange:
            prediction["unknown_tokens"] = strange
    return predictions


def device_of(accelerator: str) -> torch.device:
    """The device that Lightning's name of an accelerator stands for. Raises UserError when there is none."""
    if (here := accelerator_here(accelerator)) is None:
        raise UserError(f"accelerator={accelerator}: there is none here. Try accelerator=cpu")
    return torch.device(here)
