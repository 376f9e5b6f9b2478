"""What a multirun found: one row for each job, best first, and the mean over seeds."""

from __future__ import annotations

import csv
import io
import logging
import math
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from hydra.experimental.callback import Callback

from groundup.config.compose import resolved
from groundup.config.hydra import hydra_config
from groundup.errors import UserError
from groundup.jobs.sweep_plan import FINISHED, Plan, State
from groundup.report.table import latex, markdown
from groundup.runs.about import choices_of
from groundup.runs.folder import RunFolder
from groundup.system.files import remove_empty, write_text
from groundup.system.secrets import mask_text

log = logging.getLogger(__name__)
SHOWN_METRICS = 6  # columns on the terminal; results.csv has all
current: list[Plan] = []  # sweeps that this process has started and not yet summed up


class SweepTable(Callback):
    """Remembers where the sweep is; Hydra tells nobody when a job has failed."""

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        with hydra_config(config):
            folder, launcher = Path(config.hydra.sweep.dir).absolute(), resolved(config.hydra.launcher)
            current.append(Plan(folder, config.hydra.job.name, launcher))


@dataclass
class Row:
    """One job. ``metrics``: name -> value; ``log``: of a job that did not finish."""

    number: int
    changed: dict[str, str]
    state: State
    why: str | None = None
    exit_code: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    log: Path | None = None


@dataclass(frozen=True)
class Ranking:
    """The monitored metric, and whether more of it is better."""

    monitor: str | None = None
    mode: str = "min"

    def key(self, value: float | None) -> tuple[bool, float]:
        """Sorts the best first, runs without the metric last."""
        if value is None:
            return True, 0.0
        return False, -value if self.mode == "max" else value


def finish() -> int:
    """Sum up the sweep of this command, if there was one. Returns its exit code: 0, 1 a job failed, 2 all failures are mistakes."""
    plans = [plan for plan in current if plan.folder.is_dir()]
    current.clear()
    return max(map(summarise, plans), default=0)


def summarise(plan: Plan) -> int:
    """Write results.csv and results.md, print the table, return the exit code."""
    multirun = plan.folder / "multirun.yaml"
    rows, ranking = read(plan)
    if not plan.leaves_folders:
        rows = [row for row in rows if row.state == "failed"]
    if not rows:  # Hydra refused the first job
        multirun.unlink(missing_ok=True)
        remove_empty(plan.folder, plan.folder.parent)
        return 0
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(f"\n{as_text(rows, ranking, width)}\n", flush=True)
    if multirun.is_file():  # Hydra saves values as they came; a key given on the command line must not stay on disk
        write_text(multirun, mask_text(multirun.read_text(encoding="utf-8")))
    write_text(plan.folder / "results.csv", as_csv(rows))
    write_text(plan.folder / "results.md", f"# {plan.folder.name}\n\n{as_text(rows, ranking)}\n")
    try:
        write_page(plan, rows, ranking)
    except Exception as error:  # what the jobs have found does not depend on it
        said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        log.warning("no report.html of the sweep: %s", said)
    print(plan.folder / "results.md", flush=True)
    failed = [row for row in rows if row.state not in FINISHED]
    if not failed:
        return 0
    mistakes = all(row.exit_code == 2 for row in failed)
    advice = "" if mistakes or not plan.leaves_folders else f". Go on with: {go_on(plan)}"
    print(f"{len(failed)} of {len(rows)} jobs did not finish{advice}", file=sys.stderr)
    return 2 if mistakes else 1


def write_page(plan: Plan, rows: Sequence[Row], ranking: Ranking) -> Path:
    """report.html of the sweep."""
    from groundup.report.sweep_page import JobLine, write_sweep

    monitor = ranking.monitor or "score"
    shown = columns(rows, ranking)[:SHOWN_METRICS]
    jobs = [
        JobLine(
            row.number,
            row.changed,
            row.state,
            row.metrics.get(monitor),
            {name: figure(row.metrics[name]) for name in shown if name in row.metrics},
            "" if row.state in FINISHED else " ".join((row.why or "").split()),
            plan.run(row.number),
        )
        for row in rows
    ]
    seeds = over_seeds(rows, shown, ranking)
    head = ["over seeds", *(key for key in rows[0].changed if key != "seed"), "runs", *shown]
    common = set.intersection(*(set(job.overrides) for job in plan.jobs.values()))
    words = [word for word in next(iter(plan.jobs.values())).overrides if word in common]
    first = jobs[0]
    about = {
        "title": title_of(plan, first.changed),
        "command": mask_text(" ".join(["groundup", plan.stage, "-m", *words])),
        "best": f"{first.name}; {monitor} {figure(first.score)}" if first.score is not None else "-",
        "folder": os.path.relpath(plan.folder),
    }
    lower = ranking.mode == "min"
    next_one = go_on(plan) if any(job.state not in FINISHED for job in jobs) else ""
    if not next_one and plan.stage in ("pretrain", "finetune", "distill") and first.score is not None:
        next_one = f"groundup promote {shlex.quote(f'sweep={os.path.relpath(plan.folder)}')} name=NAME"
    tables = [head, *seeds] if seeds else []
    return write_sweep(plan.folder / "report.html", about, monitor, lower, jobs, tables, next_one)


def title_of(plan: Plan, changed: Mapping[str, str]) -> str:
    """What all jobs share, and what they differ in: ``trec6 by model, seed``."""
    first, *others = [choices_of({"choices": job.choices}) for job in plan.jobs.values()]
    groups = [group for group in ("data", "model", "baseline") if group in first]
    title = " · ".join(first[group] for group in groups if all(one.get(group) == first[group] for one in others))
    return " by ".join(filter(None, [title or plan.folder.name, ", ".join(changed)]))


def go_on(plan: Plan) -> str:
    """What to paste into the shell."""
    return f"groundup resume {shlex.quote(f'sweep={os.path.relpath(plan.folder)}')}"


def read(plan: Plan) -> tuple[list[Row], Ranking]:
    """The jobs of a sweep, best first."""
    rows, ranking = [], Ranking()
    for number in plan.jobs:
        row, ranking = read_job(plan, number, ranking)
        rows.append(row)
    varied = [key for key in keys_of(rows) if len({row.changed.get(key) for row in rows}) > 1]
    for row in rows:
        row.changed = {key: row.changed.get(key, "") for key in varied}
    return sorted(rows, key=lambda row: (*ranking.key(row.metrics.get(ranking.monitor or "")), row.number)), ranking


def read_job(plan: Plan, number: int, ranking: Ranking) -> tuple[Row, Ranking]:
    """One job with all its overrides, and the ranking as far as its results tell the direction of the metric."""
    job, run, outcome = plan.jobs[number], plan.run(number), plan.outcome(number)
    metrics = figures_of(run)
    file = run.log if outcome.state not in FINISHED and run.log.is_file() else None
    row = Row(number, changed_by(job.overrides), outcome.state, outcome.why, outcome.exit_code, values(metrics), file)
    if monitor := job.config.get("monitor"):
        saved = metrics.get(monitor)
        better = saved.get("better") if isinstance(saved, Mapping) else None
        ranking = Ranking(monitor, job.config.get("monitor_mode") or better or ranking.mode)
    return row, ranking


def figures_of(run: RunFolder) -> dict[str, Any]:
    """What ``metrics.json`` holds; nothing, with a warning, where somebody has damaged it: the other jobs have figures, too."""
    try:
        return run.read_json("metrics.json", {})
    except UserError as error:
        log.warning("%s", error)
        return {}


def changed_by(overrides: Sequence[str]) -> dict[str, str]:
    return dict(override.lstrip("+~").partition("=")[::2] for override in overrides)


def keys_of(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row.changed))


def values(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a metrics.json: ``{"test/accuracy": {"value": 0.9, ...}}``."""
    plain = {name: entry.get("value") if isinstance(entry, Mapping) else entry for name, entry in metrics.items()}
    numbers = {name: float(value) for name, value in plain.items() if isinstance(value, int | float)}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}  # NaN has no place in an order


def columns(rows: Sequence[Row], ranking: Ranking) -> list[str]:
    """The monitored metric and those of the test split; those of validation, too, where a job has no test split."""
    names = dict.fromkeys(name for row in rows for name in row.metrics)
    monitor = [ranking.monitor] if ranking.monitor in names else []
    tested = [any(name.startswith("test/") for name in row.metrics) for row in rows if row.metrics]
    splits = ("test/",) if all(tested) else ("test/", "validation/")
    return monitor + [name for name in names if name.startswith(splits) and name != ranking.monitor]


def as_csv(rows: Sequence[Row]) -> str:
    """A row a job, with every figure in full precision."""
    metrics = sorted({name for row in rows for name in row.metrics})
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["job", *rows[0].changed, "status", *metrics, "why"])
    for row in rows:
        figures = [row.metrics.get(name, "") for name in metrics]
        writer.writerow([row.number, *row.changed.values(), row.state, *figures, row.why or ""])
    return file.getvalue()


def as_latex(rows: Sequence[Row], ranking: Ranking) -> str:
    """The tables of ``as_text`` for the package booktabs."""
    return tables(rows, ranking, columns(rows, ranking)[:SHOWN_METRICS], latex)


def as_text(rows: Sequence[Row], ranking: Ranking, width: int | None = None) -> str:
    """Markdown that reads well on a terminal too: with ``width``, of its metrics the first that fit, one at least."""
    metrics = columns(rows, ranking)[:SHOWN_METRICS]
    while (text := tables(rows, ranking, metrics)) and len(metrics) > 1 and width is not None and widest(text) > width:
        metrics.pop()
    if failed := [row for row in rows if row.state not in (*FINISHED, "waiting")]:
        text += "\n\n" + "\n".join(reason(row) for row in sorted(failed, key=lambda row: row.number))
    return text


def reason(row: Row) -> str:
    """Why a job did not finish, and where its log is."""
    where = f" (log: {os.path.relpath(row.log)})" if row.log is not None else ""
    return f"job {row.number}: {' '.join((row.why or row.state).split())}{where}"


def tables(rows: Sequence[Row], ranking: Ranking, metrics: Sequence[str], write: Callable[..., str] = markdown) -> str:
    """One row a job and, where only seeds differ, one row for their mean."""
    head = ["job", *rows[0].changed, "status", *metrics]
    lines = [
        [str(row.number), *row.changed.values(), row.state, *(figure(row.metrics.get(name)) for name in metrics)]
        for row in rows
    ]
    text = write(head, lines)
    if seeds := over_seeds(rows, metrics, ranking):
        text += "\n\n" + write(
            ["over seeds", *(key for key in rows[0].changed if key != "seed"), "runs", *metrics], seeds
        )
    return text


def widest(text: str) -> int:
    return max(map(len, text.splitlines()))


def over_seeds(rows: Sequence[Row], metrics: Sequence[str], ranking: Ranking) -> list[list[str]]:
    """Mean ± sample standard deviation of finished jobs that differ in nothing but the seed; empty without such jobs."""
    if not rows or "seed" not in rows[0].changed:
        return []
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.state == "done":
            alike.setdefault(tuple(value for key, value in row.changed.items() if key != "seed"), []).append(row)

    def rank(item: tuple[tuple[str, ...], list[Row]]) -> tuple[bool, float]:
        known = [row.metrics[ranking.monitor] for row in item[1] if ranking.monitor in row.metrics]
        return ranking.key(fmean(known) if known else None)

    lines = []
    for key, group in sorted(alike.items(), key=rank):
        figures = [spread([row.metrics[name] for row in group if name in row.metrics]) for name in metrics]
        lines.append(["mean ± std", *key, str(len(group)), *figures])
    return lines if any(len(group) > 1 for group in alike.values()) else []


def spread(numbers: Sequence[float]) -> str:
    if not numbers:
        return ""
    return figure(fmean(numbers)) + (f" ± {stdev(numbers):.2g}" if len(numbers) > 1 else "")


def figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
