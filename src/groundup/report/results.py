"""Metrics of a run beside those of its baselines, split by split, as the page shows them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from groundup.metrics.estimate import Estimate, Metric, base_name
from groundup.report.scales import number
from groundup.report.table import best_rows, estimates, main_metrics
from groundup.runs.folder import RunFolder

OURS = "this run"
_SPLITS = ("test", "out_of_fold", "folds", "validation", "train")
_BAR = 120  # pixels of the longest bar
_GROUPS = 12  # a longer table stands under "All metrics" alone
_Rows = Mapping[str, Mapping[str, Estimate]]  # system -> metric name -> estimate


@dataclass
class Bar:
    """``whisker``: the ends of the interval; None: unknown."""

    width: float
    whisker: tuple[float, float] | None


@dataclass
class Figure:
    """A value as printed, its interval, and its bar where the table has bars."""

    value: str
    interval: str
    bar: Bar | None = None
    best: bool = False


@dataclass
class Grid:
    """One row a system or a group; ``sizes``: on how many things each was measured."""

    corner: str
    columns: list[str]
    rows: dict[str, list[Figure | None]]
    sizes: dict[str, int] = field(default_factory=dict)


@dataclass
class SplitResults:
    """``spread``: what stands below a figure. ``signatures``: (metric, how it was measured): figures of others compare only
    where this agrees."""

    name: str
    n: int
    main: Grid
    signatures: list[tuple[str, str]]
    further: list[Grid]
    spread: str = "with 95 % intervals"


def results_of(run: RunFolder) -> list[SplitResults]:
    """A run beside its baselines; of a pipeline, the rows of its table."""
    ours = run.read_json("metrics.json", {})
    rows = {OURS: ours, **run.read_json("baselines.json", {})} if ours else run.read_json("results.json", {})
    known = {label: estimates(results) for label, results in rows.items()}
    return [found for split in _SPLITS if (found := split_results(known, split))]


def figures_of(run: RunFolder) -> tuple[str, dict[str, dict[str, Estimate]]] | None:
    """A split, and system -> its figures, baselines first: of test, or of the first split there is. None without figures."""
    ours = run.read_json("metrics.json", {})
    rows = (
        {**run.read_json("baselines.json", {}), run.path.resolve().name: ours}
        if ours
        else run.read_json("results.json", {})
    )
    known = {label: estimates(results) for label, results in rows.items()}
    for split in _SPLITS:
        found = {
            label: {name: one for name, one in row.items() if name.startswith(f"{split}/")}
            for label, row in known.items()
        }
        if found := {label: row for label, row in found.items() if row}:
            return split, found
    return None


def all_metrics(run: RunFolder) -> dict[str, tuple[Figure, int]]:
    """Every metric of ``metrics.json``, and on how many things it was measured."""
    found = estimates(run.read_json("metrics.json", {}))
    return {name: (_figure(estimate), estimate.n) for name, estimate in found.items()}


def split_results(known: _Rows, split: str) -> SplitResults | None:
    """Figures of a split: system -> metric name -> estimate; None where no system has any."""
    rows = {
        label: {base_name(name): one for name, one in row.items() if name.startswith(f"{split}/")}
        for label, row in known.items()
    }
    rows = {label: row for label, row in rows.items() if row}
    if not rows:
        return None
    ours = rows.get(OURS) or list(rows.values())[-1]
    main = main_metrics({"": ours})
    about = [name for row in rows.values() for name, one in row.items() if name not in main and _describes(one)]
    further = [_groups(ours), _grid("what the outputs are like", rows, list(dict.fromkeys(about)))]
    signed = {(_title(name, one), one.signature) for row in rows.values() for name, one in row.items() if one.signature}
    n = max(row[main[0]].n for row in rows.values() if main[0] in row)
    grids = [grid for grid in further if grid.columns]
    found = SplitResults(split.replace("_", " "), n, _grid("", rows, main, bars=True), sorted(signed), grids)
    if all(row[name].low is None for row in rows.values() for name in main if name in row):
        deviates = any(row[name].deviation is not None for row in rows.values() for name in main if name in row)
        found.spread = "mean ± standard deviation" if deviates else ""
    return found


def _describes(estimate: Estimate) -> bool:
    """Whether a figure has no better and no worse: it tells what kind of output a system has."""
    return estimate.metric is not None and estimate.metric.better is None and estimate.group is None


def _groups(row: Mapping[str, Estimate]) -> Grid:
    """Metrics of groups of rows (``exact_match_new_years``) below those of all rows; empty with many groups."""
    found: dict[str, dict[str, Estimate]] = {}
    for estimate in row.values():
        if estimate.group is not None and estimate.metric is not None:
            found.setdefault(estimate.group.replace("_", " "), {})[estimate.metric.name] = estimate
    names = list(dict.fromkeys(name for group in found.values() for name in group)) if len(found) <= _GROUPS else []
    rows = {"all rows": {name: row[name] for name in names if name in row}, **found}
    grid = _grid("group of rows", rows, names)
    grid.sizes = {label: max((one.n for one in group.values()), default=0) for label, group in rows.items()}
    return grid


def _grid(corner: str, rows: _Rows, names: Sequence[str], bars: bool = False) -> Grid:
    columns, cells = [], {label: [] for label in rows}  # type: ignore[var-annotated]
    for name in names:
        column = {label: row[name] for label, row in rows.items() if name in row}
        first = next(iter(column.values()))
        falls = bars and first.metric is not None and first.metric.better == "min"
        columns.append(_title(name, first) + (" ↓" if falls else ""))
        best, high = best_rows(rows, name) if bars else set(), _end(column.values()) if bars else None
        for label, figures in cells.items():
            figures.append(_figure(column[label], high, label in best) if label in column else None)
    return Grid(corner, columns, cells)


def _title(name: str, estimate: Estimate) -> str:
    return str(estimate.metric or Metric(name))


def _end(column: Collection[Estimate]) -> float:
    """The end of a scale from 0: 100 for percentages, 1 for shares; for losses a little above the largest."""
    if any(one.metric and one.metric.percent for one in column):
        return 100.0
    top = max(
        [one.high if one.high is not None else one.value for one in column if math.isfinite(one.value)], default=1
    )
    return 1.0 if top <= 1 else top * 1.05


def _figure(estimate: Estimate, high: float | None = None, best: bool = False) -> Figure:
    """``high`` is the end of the bar's scale; None: no bar."""
    if math.isnan(estimate.value):
        return Figure("–", "")
    digits = 2 if estimate.metric and estimate.metric.percent else 4
    value = f"{estimate.value:.{digits}f}" if digits == 2 or abs(estimate.value) < 10 else number(estimate.value)
    interval = "" if estimate.deviation is None else f"± {estimate.deviation:.{digits}f}"
    if estimate.low is not None and estimate.high is not None:
        digits = 3 if abs(estimate.high) < 10 else 1
        interval = f"{estimate.low:.{digits}f} – {estimate.high:.{digits}f}"
    elif estimate.deviation is not None:
        interval = f"± {estimate.deviation:.{digits}f}"
    return Figure(value, interval, None if high is None else _bar(estimate, high), best)


def _bar(estimate: Estimate, high: float) -> Bar:
    """A bar from 0 to the value, with a whisker for its 95 % interval, on a scale that ends at ``high``."""

    def place(value: float) -> float:
        return _BAR * min(max(value / (high or 1), 0), 1)

    known = estimate.low is not None and estimate.high is not None
    return Bar(place(estimate.value), (place(estimate.low), place(estimate.high)) if known else None)  # type: ignore[arg-type]
