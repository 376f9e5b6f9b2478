"""The steps of a pipeline on its page: what became of each, and their curves in one picture."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from groundup.metrics.estimate import LOSS, Metric
from groundup.report.charts import LineChart, line_chart
from groundup.report.table import estimates, main_metrics
from groundup.runs.about import choices_of
from groundup.runs.folder import RunFolder
from groundup.runs.history import read_metrics

STEPS = "steps.json"  # of a pipeline's folder: name of a step -> its folder in there
_MOST = 200  # steps that are shown
_DRAWN = 16  # lines of a picture: as many as can be told apart


@dataclass(frozen=True)
class StepLine:
    """``page``: of its report, as a link from the pipeline's; None: it has none yet. ``score``: its first main figure."""

    name: str
    stage: str
    state: str
    seconds: float | None
    score: str
    page: str | None
    run: RunFolder

    @property
    def took(self) -> str:
        return "" if self.seconds is None else time.strftime("%H:%M:%S", time.gmtime(self.seconds))


def steps_of(pipeline: RunFolder) -> list[StepLine]:
    """The steps that the folder names, in order; none that would lie outside of it."""
    named = pipeline.read_json(STEPS, {})
    found = []
    for name, place in list(named.items())[:_MOST]:
        if not isinstance(place, str) or not (folder := _inside(pipeline.path, place)):
            continue
        run = RunFolder(folder)
        status = run.status()
        known = estimates(run.read_json("metrics.json", {}))
        first = next(iter(main_metrics({"": known})), None)
        seconds = status.get("seconds")
        found.append(
            StepLine(
                str(name),
                str(status.get("stage") or ""),
                str(status.get("state") or "waiting"),
                float(seconds) if isinstance(seconds, int | float) else None,
                f"{first} {known[first]}" if first else "",
                quote(f"{place}/{run.report.name}") if run.report.is_file() else None,
                run,
            )
        )
    return found


def shared_curves(runs: Mapping[str, RunFolder]) -> list[LineChart]:
    """A chart for each figure of validation that several runs of a task have, and of the loss in any case; a line a run, of the
    first that have any. None of figures that were looked at once."""
    lines: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}  # (figure, task) -> run -> points
    known: dict[str, Metric] = {}
    span = (0.0, 1.0)
    for label, run in runs.items():
        saved, task = run.read_json("measures.json", {}), choices_of(run.status()).get("task", "")
        known |= {name: Metric.from_dict(name, one) for name, one in saved.items()}
        for row in read_metrics(run.metrics_csv):
            span = (span[0], max(span[1], row["step"]))
            for column, value in row.items():
                if column.startswith("validation/"):
                    lines.setdefault((column.partition("/")[2], task), {}).setdefault(label, []).append(
                        (row["step"], value)
                    )
    curved = [label for label in runs if any(label in one for one in lines.values())][:_DRAWN]
    several = len({task for _, task in lines}) > 1
    charts = []
    for name, task in sorted(lines, key=lambda one: (one[0] != LOSS.name, list(lines).index(one))):
        points, metric = lines[name, task], known.get(name) or Metric(name)
        if metric.shown == "list" or max(map(len, points.values())) < 2:
            continue  # points alone are no curves
        if name == LOSS.name or (len(points) > 1 and metric.better):
            drawn = {label: points.get(label, []) for label in curved}
            of_task = f", {task.replace('_', ' ')}" if several and task else ""
            charts.append(line_chart(f"{metric} on validation{of_task}", drawn, span))
    return [chart for chart in charts if chart]


def note(pipeline: RunFolder, folders: Mapping[str, Any]) -> None:
    """Writes down which steps there are, for the page."""
    places = {name: Path(folder).relative_to(pipeline.path).as_posix() for name, folder in folders.items()}
    pipeline.write_json(STEPS, places)


def _inside(path: Path, place: str) -> Path | None:
    """A folder below ``path``; None for one that is elsewhere, or is not there."""
    folder = path / place
    try:
        inside = folder.resolve().is_relative_to(path.resolve()) and folder.resolve() != path.resolve()
    except (OSError, ValueError, RuntimeError):
        return None
    return folder if inside and folder.is_dir() else None
