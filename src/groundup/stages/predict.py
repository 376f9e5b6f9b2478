"""``groundup predict``: one answer for each row of a file, in the file's order."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from groundup.config.job import Job
from groundup.config.safe import instantiate
from groundup.data.seeding import mix
from groundup.data.sources.formats import format_of, read
from groundup.data.sources.source import Row, roles
from groundup.errors import UserError
from groundup.runs.atomic import replacing
from groundup.stages.building import build_data, connect, prepare_process
from groundup.stages.evaluate import FILES
from groundup.stages.loading import LoadedRun, load_run
from groundup.tasks.sequence_to_sequence import SequenceToSequence, statuses

log = logging.getLogger(__name__)


def run(cfg: DictConfig, job: Job) -> None:
    """Reads ``input``; writes ``output``: .jsonl with the row's own columns and the prediction, or .txt with the text."""
    prepare_process(cfg.threads)
    output, loaded = Path(cfg.output), load_run(cfg.run, cfg.paths.logs)
    check_output(output, loaded)
    if cfg.get("decoding"):
        loaded.decode_by(instantiate(cfg.decoding))
    begin_with(loaded, cfg.prefix)
    raw, rows = read_rows(Path(cfg.input), loaded, {role: cfg[role] for role in ("text", "text_pair", "source")})
    predictions = predict_rows(loaded, rows, cfg.batch_size, cfg.accelerator, cfg.seed)
    with replacing(output) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for row, prediction in zip(raw, predictions, strict=True):
            if output.suffix == ".txt":  # one line a row, whatever is in it
                file.write(" ".join(prediction["prediction"].splitlines()) + "\n")
            else:
                file.write(json.dumps({**row, **prediction}, ensure_ascii=False, default=str) + "\n")
    log.info("%d rows -> %s", len(rows), output)
    for status, count in Counter(prediction.get("status", "ok") for prediction in predictions).items():
        if status != "ok":
            log.warning("%d of %d rows: %s source", count, len(rows), status)


def check_output(output: Path, loaded: LoadedRun) -> None:
    """Raises UserError for a file that cannot hold the answers."""
    writes = isinstance(loaded.task, SequenceToSequence)
    if output.suffix not in ((".jsonl", ".txt") if writes else (".jsonl",)):
        forms = ".jsonl, or .txt with a line each" if writes else ".jsonl"
        raise UserError(
            f"output={output}: predictions are written as {forms}. Try output={output.with_suffix('.jsonl')}"
        )


def begin_with(loaded: LoadedRun, prefix: str) -> None:
    """Makes every text that is written begin with ``prefix``. Raises UserError for a task that writes none."""
    if not prefix:
        return
    if not isinstance(loaded.task, SequenceToSequence):
        raise UserError(f"prefix={prefix} is for tasks that write a text. Leave it out")
    tokenizer = loaded.target_tokenizer or loaded.tokenizer
    loaded.task.prefix = tuple(tokenizer.encode(loaded.text(prefix)))


def read_rows(path: Path, loaded: LoadedRun, named: Mapping[str, str | None]) -> tuple[list[dict[str, Any]], list[Row]]:
    """The rows of a file as they stand, and by role. Columns are those of training, unless named."""
    trained, writes = loaded.config.data, isinstance(loaded.task, SequenceToSequence)
    wanted = ("source",) if writes else ("text", "text_pair")
    own = trained if trained["_target_"] == FILES else {}  # a set made by code names its rows by their roles
    found = {role: named[role] or own.get(role) for role in wanted}
    columns = {role: str(column) for role, column in found.items() if column is not None} or {wanted[0]: wanted[0]}
    if writes and format_of(path) == ".txt":
        columns = {"source": "text"}  # what the only column of such a file is called
    raw, rows = [], []
    for where, row in read(path, "line"):
        raw.append(row)
        rows.append(roles(row, columns, None, where))
    return raw, rows


@torch.inference_mode()
def predict_rows(
    loaded: LoadedRun, rows: Iterable[Row], batch_size: int = 64, accelerator: str = "cpu", seed: int = 1
) -> list[dict[str, Any]]:
    """A prediction for each row (a dict with the roles of training: text, text_pair, or source), in their order.

    ``seed``: of decoding by drawing; a row's text depends on it and on the row's number alone.
    """
    rows, device = [loaded.row(row) for row in rows], device_of(accelerator)
    task = loaded.task.eval().to(device)
    data = build_data(loaded.config, None, loaded.tokenizer, loaded.facts, loaded.target_tokenizer)
    connect(task, data)
    loader = data.loader(rows, batch_size)
    writes = isinstance(task, SequenceToSequence)
    predictions: list[dict[str, Any]] = [{} for _ in rows]
    for batch in loader:
        place = batch["index"].tolist()
        if writes:  # rows of their own number draw alike in every batch
            batch["index"] = torch.tensor([mix(seed, index) % 2**62 for index in place])
        answers = task.predict_batch({name: value.to(device) for name, value in batch.items()})
        for index, answer in zip(place, answers, strict=True):
            predictions[index] = answer
    if writes:
        examples: Any = loader.dataset.examples  # type: ignore[attr-defined]
        about = zip(predictions, statuses(rows, examples), examples.unknown_sources.tolist(), strict=True)
        for prediction, status, unknown in about:
            if status == "empty":  # a model would make something up
                prediction.clear()
                prediction["prediction"] = ""
            prediction["status"] = status
            if unknown:
                prediction["unknown_tokens"] = unknown
    return predictions


def device_of(accelerator: str) -> torch.device:
    """The device that Lightning's name of an accelerator stands for. Raises UserError when there is none."""
    there = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    wanted = next(name for name, found in there.items() if found) if accelerator == "auto" else accelerator
    if not there.get(wanted, False):
        raise UserError(f"accelerator={accelerator}: there is none here. Try accelerator=cpu")
    return torch.device({"gpu": "cuda"}.get(wanted, wanted))
