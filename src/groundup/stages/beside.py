"""A smaller run compared with the run that it came from: metrics of both, their sizes, and the time of an answer."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import torch

from groundup.config.tree import Config
from groundup.data.roles import Row
from groundup.data.sources.source import Source
from groundup.metrics.estimate import Estimate
from groundup.metrics.sections import Cell, Section, Table
from groundup.models.int8 import numbers_of
from groundup.models.shrinking import matrices_of, share_of_zeros
from groundup.report.table import estimates, main_metrics
from groundup.runs.folder import RunFolder
from groundup.runs.reference import best_checkpoint
from groundup.stages.answering import Answering
from groundup.stages.build import source_of
from groundup.stages.evaluation import limit_of
from groundup.stages.loading import load_run
from groundup.stages.network import NetworkRun
from groundup.tasks.evaluation import flat

log = logging.getLogger(__name__)
FILE = "beside.json"
TEXTS = (1, 16)  # answered at once
WEIGHTS = ("best.ckpt", "baseline.npz")  # what is needed of a run, by which its size is judged
ZEROS = 0.01  # share of them that is worth a column
SECONDS, TURNS, CALLS = 0.5, 7, 3  # measures at least so long, in so many turns of at least so many calls


def put_beside(folder: RunFolder, origin: Answering, cfg: Config, theirs: str, ours: str) -> None:
    """Measures ``origin`` and the run in ``folder``, and writes a table of both into its report.

    ``theirs``, ``ours``: what the table calls them. ``cfg``: the run's own configuration; its last split is what both are
    scored on, the run's own score being there already.
    """
    source = source_of(cfg)
    splits = [split for split in source.splits() if split != "train" and limit_of(split, cfg.trainer) != 0]
    if not splits:
        return
    run = load_run(folder.path, cfg.paths.logs, use="predict")
    saved = estimates(folder.read_json("metrics.json", {}))
    before = flat([(splits[-1], _score(origin, cfg, source, splits[-1]))])
    times = latencies([origin, run], list(source.rows(splits[-1])))
    columns = [name for name in main_metrics({"": saved}) if name in before]
    rows = [
        {"run": name, **about(one), **{column: found[column] for column in columns}, "seconds": taken}
        for name, one, found, taken in zip((theirs, ours), (origin, run), (before, saved), times, strict=True)
    ]
    folder.write_json(FILE, {"threads": torch.get_num_threads(), "rows": rows})
    section = Section(
        "Beside the run it came from",
        f"{theirs.capitalize()}: {os.path.relpath(origin.folder.path)}. Scores of {splits[-1]} with 95 % intervals. "
        f"Time: the fastest call of a turn, median of {TURNS} turns, of the network alone where it is one, on "
        f"{torch.get_num_threads()} threads. Size: of the weights on disk.",
        [table_of(rows, columns)],
    )
    folder.write_json("sections.json", [section, *folder.read_sections()])
    show(section)


def _score(origin: Answering, cfg: Config, source: Source, split: str) -> Any:
    config = Config({**origin.config, "data": cfg.data, "paths": cfg.paths, "num_workers": 0})
    return origin.scorer(config, source).score(split, cfg.trainer)


def about(run: Answering) -> dict[str, Any]:
    """How large a run is: ``bytes`` of its weights on disk, ``parameters`` (None where it is no network), and the share
    of ``zeros`` in its matrices."""
    if not isinstance(run, NetworkRun):
        files = [file for name in WEIGHTS for file in run.folder.path.rglob(name)]
        size = sum(file.stat().st_size for file in files)
        return {"path": str(run.folder.path), "bytes": size, "parameters": None, "zeros": 0.0}
    size = best_checkpoint(run.folder).stat().st_size
    zeros = share_of_zeros(matrices_of(run.task.model))
    return {"path": str(run.folder.path), "bytes": size, "parameters": numbers_of(run.task), "zeros": zeros}


def latencies(runs: Sequence[Answering], rows: Sequence[Row]) -> list[dict[str, float]]:
    """Seconds of each run to answer so many of ``rows`` at once: ``{"1": ..., "16": ...}``; empty where one answers
    nothing, as what is pretrained may not.

    The runs take turns, so that whatever else the machine does meets them alike; a time is the median over turns of the fastest
    call of each, for on a busy machine a long call is interrupted nearly always and a short one seldom.
    """
    found: list[dict[str, float]] = [{} for _ in runs]
    mute = any(isinstance(run, NetworkRun) and not run.task.answers for run in runs)
    for count in () if mute else TEXTS:
        texts = [rows[place % len(rows)] for place in range(count)]
        calls = [answering(run, texts) for run in runs]
        each: list[list[float]] = [[] for _ in runs]
        for call in calls:
            call()
        for _ in range(TURNS):
            for call, taken in zip(calls, each, strict=True):
                calls_of_turn: list[float] = []
                end = time.perf_counter() + SECONDS / TURNS
                while len(calls_of_turn) < CALLS or time.perf_counter() < end:
                    begun = time.perf_counter()
                    call()
                    calls_of_turn.append(time.perf_counter() - begun)
                taken.append(min(calls_of_turn))
        for place, taken in enumerate(each):
            found[place][str(count)] = median(taken)
    return found


def answering(run: Answering, rows: list[Row]) -> Callable[[], object]:
    """A function that answers the rows; of a network its part of it alone, the tokens being there."""
    given = [{role: row[role] for role in run.reads if role in row} for row in rows]
    if not isinstance(run, NetworkRun):
        return lambda: list(run.answer(given, batch_size=len(given)))
    loader, _ = run.data.rows_loader(given, run.task.collator(), len(given))
    (batch, *_) = loader
    return torch.inference_mode()(partial(run.task.eval().predict_batch, batch))


def table_of(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> Table:
    """The rows of ``beside.json`` as they are shown."""
    names = {column: _title(rows[0][column], column) for column in columns}
    sparse = any(row["zeros"] >= ZEROS for row in rows)
    cells = [
        [
            Cell(row["run"]),
            *(Cell(str(row[column])) for column in columns),
            Cell("-" if row["parameters"] is None else f"{row['parameters']:,}"),
            *([Cell(f"{row['zeros']:.1%}")] if sparse else []),
            Cell(f"{row['bytes'] / 1e6:.3f} MB"),
            *(Cell(f"{seconds * 1e3:.2f} ms") for seconds in row["seconds"].values()),
        ]
        for row in rows
    ]
    times = ["1 text" if count == "1" else f"{count} texts" for count in rows[0]["seconds"]]
    numbers = [*names.values(), "parameters", *(["zeros in matrices"] if sparse else []), "size", *times]
    return Table({"run": "word", **dict.fromkeys(numbers, "number")}, cells)


def _title(estimate: Estimate, name: str) -> str:
    return str(estimate.metric) if estimate.metric else name


def show(section: Section) -> None:
    """Prints the section's table."""
    from rich.console import Console
    from rich.table import Table as Shown

    console = Console()
    if not console.is_terminal:  # a log file has no width to fit into
        console = Console(width=200)
    (table,) = section.parts
    assert isinstance(table, Table)
    shown = Shown(title=section.title)
    for name, content in table.columns.items():
        shown.add_column(name, justify="right" if content == "number" else "left")
    for row in table.rows:
        shown.add_row(*(cell.text if isinstance(cell, Cell) else cell for cell in row))
    console.print(shown)
