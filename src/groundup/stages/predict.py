"""``groundup predict``: one answer for each row of a file, in the file's order."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from groundup.config.job import Job
from groundup.config.safe import instantiate
from groundup.data.sources.formats import read
from groundup.data.sources.source import Row, roles
from groundup.errors import UserError
from groundup.runs.atomic import replacing
from groundup.stages.building import build_data, prepare_process
from groundup.stages.loading import LoadedRun, load_run

log = logging.getLogger(__name__)


def run(cfg: DictConfig, job: Job) -> None:
    """Reads ``input``, writes ``output`` as .jsonl: the row's own columns, then the prediction."""
    prepare_process(cfg.threads)
    output = Path(cfg.output)
    if output.suffix != ".jsonl":
        raise UserError(
            f"output={output}: predictions are written as .jsonl. Try output={output.with_suffix('.jsonl')}"
        )
    loaded = load_run(cfg.run, cfg.paths.logs)
    raw, rows = read_rows(Path(cfg.input), loaded, {"text": cfg.text, "text_pair": cfg.text_pair})
    predictions = predict_rows(loaded, rows, cfg.batch_size, cfg.accelerator)
    with replacing(output) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for row, prediction in zip(raw, predictions, strict=True):
            file.write(json.dumps({**row, **prediction}, ensure_ascii=False, default=str) + "\n")
    log.info("%d rows -> %s", len(rows), output)


def read_rows(path: Path, loaded: LoadedRun, named: Mapping[str, str | None]) -> tuple[list[dict[str, Any]], list[Row]]:
    """The rows of a file as they stand, and as the model wants them. Columns are those of training, unless named."""
    trained = loaded.config.data
    columns = {role: named[role] or trained.get(role) for role in ("text", "text_pair")}
    columns = {role: column for role, column in columns.items() if column is not None} or {"text": "text"}
    clean = instantiate(trained.clean) if trained.get("clean") else None
    raw, rows = [], []
    for where, row in read(path, "line"):
        raw.append(row)
        rows.append(roles(row, columns, clean, where))
    return raw, rows


@torch.inference_mode()
def predict_rows(
    loaded: LoadedRun, rows: Iterable[Row], batch_size: int = 64, accelerator: str = "cpu"
) -> list[dict[str, Any]]:
    """A prediction for each row (a dict with ``text``, for pairs also ``text_pair``), in their order."""
    rows, device = list(rows), device_of(accelerator)
    task = loaded.task.eval().to(device)
    data = build_data(loaded.config, None, loaded.tokenizer, loaded.facts)
    data.collate = task.collator(loaded.tokenizer)
    predictions: list[dict[str, Any]] = [{} for _ in rows]
    for batch in data.loader(rows, batch_size):
        answers = task.predict_batch({name: value.to(device) for name, value in batch.items()})
        for index, answer in zip(batch["index"].tolist(), answers, strict=True):
            predictions[index] = answer
    return predictions


def device_of(accelerator: str) -> torch.device:
    """The device that Lightning's name of an accelerator stands for. Raises UserError when there is none."""
    there = {"gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    wanted = next(name for name, found in there.items() if found) if accelerator == "auto" else accelerator
    if not there.get(wanted, False):
        raise UserError(f"accelerator={accelerator}: there is none here. Try accelerator=cpu")
    return torch.device({"gpu": "cuda"}.get(wanted, wanted))
