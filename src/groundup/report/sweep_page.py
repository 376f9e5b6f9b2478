"""The page of a sweep: its jobs, the best first, what their settings have to do with the score, and the mean over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from urllib.parse import quote

from groundup.metrics.sections import Content, Section, Table
from groundup.report.page import environment
from groundup.report.parallel import Parallel, parallel_chart
from groundup.report.pipeline_page import shared_curves
from groundup.runs.folder import RunFolder
from groundup.system.files import write_text

FOLDED = 50  # jobs shown at once
DRAWN_JOBS = 8  # whose curves are shown
LABEL = 48  # characters of a job in a legend
FEW = 3  # jobs with a score, below which nothing is said of settings


@dataclass(frozen=True)
class JobLine:
    """One job. ``changed``: key -> value, of the keys that differ; ``score``: the monitored figure; ``figures``: as printed;
    ``run``: its folder, where it has one."""

    number: int
    changed: Mapping[str, str]
    state: str
    score: float | None
    figures: Mapping[str, str]
    why: str = ""
    run: RunFolder | None = None

    @property
    def name(self) -> str:
        """``job 3: lr=0.01, seed=2``."""
        return f"job {self.number}" + ": " * bool(self.changed) + ", ".join(f"{k}={v}" for k, v in self.changed.items())


def write_sweep(
    file: Path,
    about: Mapping[str, str],
    monitor: str,
    lower: bool,
    jobs: Sequence[JobLine],
    seeds: Sequence[Sequence[str]],
    go_on: str = "",
) -> Path:
    """Writes the page.

    Args:
        about: facts under the title, ``title`` among them.
        lower: whether a lower score is better.
        jobs: the best first.
        seeds: a head, and rows of means over seeds; empty where none differ.
        go_on: what can be typed next.
    """
    states = {state: sum(job.state == state for job in jobs) for state in dict.fromkeys(job.state for job in jobs)}
    content = {
        "title": about["title"],
        "counts": ", ".join(f"{count} {state}" for state, count in states.items()),
        "facts": {name: value for name, value in about.items() if name != "title"},
        "parallel": parallel(jobs, monitor, lower),
        "monitor": monitor,
        "curves": shared_curves({_label(job): job.run for job in jobs[:DRAWN_JOBS] if job.run}),
        "sections": [section for section in (_importance(jobs, monitor), _seeds(seeds)) if section],
        "drawn": DRAWN_JOBS,
        "go_on": go_on,
        "jobs": _jobs(jobs),
        "whys": _whys(jobs),
        "pages": _pages(jobs, file.parent),
    }
    write_text(file, environment().get_template("sweep.html").render(content))
    return file


def parallel(jobs: Sequence[JobLine], monitor: str, lower: bool) -> Parallel | None:
    """A line for each job with a score through its settings; None for fewer than two settings or jobs."""
    scored = [job for job in jobs if job.score is not None]
    keys = [key for key in (jobs[0].changed if jobs else {}) if key != "seed"]
    if len(scored) < FEW or not keys:
        return None
    columns = {key: [job.changed[key] for job in scored] for key in keys}
    scores = [job.score for job in scored if job.score is not None]
    return parallel_chart(columns, monitor, scores, lower, [job.name for job in scored])


def importance(jobs: Sequence[JobLine]) -> dict[str, float]:
    """Key -> the share of the variance of the scores that it explains alone, the largest first.

    Of few values by their means (eta squared), of many numbers by their order (Spearman's correlation squared).
    """
    scored = [(job, job.score) for job in jobs if job.score is not None and math.isfinite(job.score)]
    scores = [score for _, score in scored]
    if len(scored) < FEW or max(scores) == min(scores):
        return {}
    found = {}
    for key in scored[0][0].changed:
        values = [job.changed[key] for job, _ in scored]
        different = len(set(values))
        if 1 < different <= len(values) / 2:
            found[key] = _eta_squared(values, scores)
        elif different > 1 and (numbers := _numbers(values)):
            found[key] = _correlation(_ranks(numbers), _ranks(scores)) ** 2
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _eta_squared(values: Sequence[str], scores: Sequence[float]) -> float:
    mean = fmean(scores)
    groups = {value: [s for v, s in zip(values, scores, strict=True) if v == value] for value in set(values)}
    between = sum(len(group) * (fmean(group) - mean) ** 2 for group in groups.values())
    return between / sum((score - mean) ** 2 for score in scores)


def _numbers(values: Sequence[str]) -> list[float]:
    """The values as numbers; empty where one is none."""
    try:
        return [float(value) for value in values]
    except ValueError:
        return []


def _ranks(numbers: Sequence[float]) -> list[float]:
    """From 0; equal numbers share the mean of their places."""
    ordered = sorted(numbers)
    return [ordered.index(n) + (ordered.count(n) - 1) / 2 for n in numbers]


def _correlation(one: Sequence[float], other: Sequence[float]) -> float:
    a, b = fmean(one), fmean(other)
    spread = math.sqrt(sum((x - a) ** 2 for x in one) * sum((y - b) ** 2 for y in other))
    return sum((x - a) * (y - b) for x, y in zip(one, other, strict=True)) / spread if spread else 0.0


def _importance(jobs: Sequence[JobLine], monitor: str) -> Section | None:
    if not (found := importance(jobs)):
        return None
    count = sum(job.score is not None for job in jobs)
    note = f"Of the differences in {monitor} between {count} jobs, the share that each setting explains alone. Few jobs say little."
    rows = [[key, f"{100 * share:.0f} %"] for key, share in found.items()]
    return Section("What the score depends on", note, [Table({"setting": "word", "explains": "number"}, rows)])


def _seeds(lines: Sequence[Sequence[str]]) -> Section | None:
    if not lines:
        return None
    head, *rows = lines
    columns: dict[str, Content] = dict.fromkeys(head, "word")
    note = "Sample standard deviation over the jobs that differ in nothing but the seed."
    return Section("Mean over seeds", note, [Table(columns, rows)])


def _pages(jobs: Sequence[JobLine], folder: Path) -> dict[str, str]:
    """Number of each job whose report is there -> where, seen from the page of the sweep."""
    reports = {str(job.number): job.run.report for job in jobs if job.run}
    return {
        number: quote(report.relative_to(folder).as_posix())
        for number, report in reports.items()
        if report.is_file() and report.is_relative_to(folder)
    }


def _label(job: JobLine) -> str:
    """Of a legend: ``job 3: 0.01, 2``, in the order of the columns below."""
    name = f"job {job.number}" + ": " * bool(job.changed) + ", ".join(job.changed.values())
    return name if len(name) <= LABEL else name[: LABEL - 1] + "…"


def _jobs(jobs: Sequence[JobLine]) -> Table | None:
    if not jobs:
        return None
    metrics = list(dict.fromkeys(name for job in jobs for name in job.figures))
    columns: dict[str, Content] = {"job": "number", **dict.fromkeys(jobs[0].changed, "word"), "state": "word"}
    columns |= dict.fromkeys(metrics, "number")
    rows = [
        [
            str(job.number),
            *job.changed.values(),
            job.state,
            *(job.figures.get(name, "") for name in metrics),
        ]
        for job in jobs
    ]
    return Table(columns, rows, folded=FOLDED)


def _whys(jobs: Sequence[JobLine]) -> Table | None:
    rows = [[str(job.number), job.state, job.why] for job in jobs if job.why]
    return Table({"job": "word", "state": "word", "why": "text"}, rows, "Not finished", folded=FOLDED) if rows else None
