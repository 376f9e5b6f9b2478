"""``groundup predict``: one answer for each row of a file, in the file's order."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
from omegaconf import DictConfig

from groundup.config.job import Job
from groundup.data.sources.files import read_rows
from groundup.errors import UserError
from groundup.runs.atomic import replacing
from groundup.stages.building import set_threads
from groundup.stages.loading import LoadedRun, load_run

log = logging.getLogger(__name__)


def run(cfg: DictConfig, job: Job) -> None:
    """Reads ``input``, writes ``output`` as .jsonl: the row's own columns, then the prediction."""
    set_threads(cfg)
    output = Path(cfg.output)
    if output.suffix != ".jsonl":
        raise UserError(f"output={cfg.output}: predictions are written as .jsonl. Try output={output.with_suffix('.jsonl')}")
    loaded = load_run(cfg.run, cfg.paths.logs)
    columns = {role: cfg[role] or loaded.config.data.get(role) or role for role in ("text", "text_pair")}
    if loaded.config.data.get("text_pair") is None and cfg.text_pair is None:
        del columns["text_pair"]
    rows = read_rows(cfg.input, columns)
    predictions = predict_rows(loaded, rows, cfg.batch_size, cfg.accelerator)
    with replacing(output) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for row, prediction in zip(rows, predictions, strict=True):
            file.write(json.dumps({**row, **prediction}, ensure_ascii=False) + "\n")
    log.info("%d rows -> %s", len(rows), output)


@torch.inference_mode()
def predict_rows(loaded: LoadedRun, rows: list[dict], batch_size: int = 64, accelerator: str = "cpu") -> list[dict]:
    """Predictions for rows with the keys ``text`` (and ``text_pair``), in their order, each a plain dict."""
    task = loaded.task.eval()
    if accelerator in ("gpu", "auto") and torch.cuda.is_available():
        task = task.cuda()
    return task.predict(rows, loaded.tokenizer, batch_size, loaded.config.batching)
