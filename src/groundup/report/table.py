"""One table of several results: to the terminal, and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from groundup.metrics.estimate import Estimate
from groundup.metrics.monitored import base_name, direction
from groundup.system.streams import visible

Results = Mapping[str, Estimate | Mapping]  # metric name -> estimate, or its dict from metrics.json

OF_TEXT = ("bleu", "chrf", "exact_match", "rouge_1", "rouge_2", "rouge_l")  # of what a model writes
PERCENT = ("bleu", "chrf")  # 0..100; other scores are shares
_SHOWN = ("accuracy", "macro_f1", "auroc", "perplexity", "bits_per_byte", "loss")
_SHOWN_BESIDE_TEXT = (*OF_TEXT, "perplexity", "loss")


def show_table(rows: Mapping[str, Results], metrics: Sequence[str] | None = None, title: str | None = None) -> str:
    """Print results with their 95 % intervals, the best of each column in bold.

    Args:
        rows: label -> results, in the order to show.
        metrics: names of the columns, such as ``test/accuracy``; by default the main ones that occur.

    Returns:
        The table as Markdown.
    """
    from rich.console import Console

    metrics = list(metrics or main_metrics(rows))
    console = Console()
    if not console.is_terminal:  # a log file has no width to fit into
        console = Console(width=200)
    for number, shown in enumerate(side_by_side(rows, metrics, console.width)):
        console.print(_rich_table(rows, shown, title if number == 0 else None))
    return markdown_table(rows, metrics)


def side_by_side(rows: Mapping[str, Results], metrics: Sequence[str], width: int) -> list[list[str]]:
    """The metrics as tables of at most ``width`` characters, in their order; each has one column at least."""
    widest = max([len(label) for label in rows], default=0)
    groups: list[list[str]] = []
    left = 0
    for name in metrics:
        cells = [format_estimate(results.get(name), name) for results in rows.values()]
        column = max(map(len, [name, *cells])) + 3  # a line and two blanks
        if not groups or column > left:
            groups.append([])
            left = width - widest - 4
        groups[-1].append(name)
        left -= column
    return groups or [[]]


def _rich_table(rows: Mapping[str, Results], metrics: Sequence[str], title: str | None):
    from rich.table import Table

    bold = best_rows(rows, metrics)
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("", overflow="fold")
    for name in metrics:
        table.add_column(_rich_text(name, False), justify="right", no_wrap=True)
    for label, results in rows.items():
        cells = [format_estimate(results.get(name), name) for name in metrics]
        # markup would swallow the brackets of the intervals
        styled = [_rich_text(cell, label in bold[name]) for cell, name in zip(cells, metrics, strict=True)]
        table.add_row(_rich_text(label, False), *styled)
    return table


def markdown_table(rows: Mapping[str, Results], metrics: Sequence[str] | None = None) -> str:
    """The same table as Markdown."""
    metrics = list(metrics or main_metrics(rows))
    bold = best_rows(rows, metrics)
    lines = ["| | " + " | ".join(metrics) + " |", "|---|" + "---:|" * len(metrics)]
    for label, results in rows.items():
        cells = [format_estimate(results.get(name), name) for name in metrics]
        cells = [f"**{cell}**" if label in bold[name] else cell for cell, name in zip(cells, metrics, strict=True)]
        lines.append(f"| {label.replace('|', chr(92) + '|')} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def format_estimate(estimate: Estimate | Mapping | None, metric: str = "") -> str:
    """``0.8920 [0.8617, 0.9163]``, or ``35.42 [34.10, 36.80]`` for BLEU and chrF; a dash when there is none."""
    if estimate is None:
        return "-"
    estimate = as_estimate(estimate)
    if math.isnan(estimate.value):
        return "-"
    if base_name(metric) not in PERCENT:
        return str(estimate)
    ends = "" if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.value:.2f}{ends}"


def as_estimate(estimate: Estimate | Mapping) -> Estimate:
    """An estimate, from its saved form if need be."""
    return estimate if isinstance(estimate, Estimate) else Estimate.from_dict(dict(estimate))


def main_metrics(rows: Mapping[str, Results]) -> list[str]:
    """Metric names worth a column: those of the test split, else of the validation split, main ones first."""
    names = dict.fromkeys(name for results in rows.values() for name in results)
    for split in ("test/", "validation/", ""):
        writes = any(split + name in names for name in OF_TEXT)
        shown = [split + name for name in (_SHOWN_BESIDE_TEXT if writes else _SHOWN) if split + name in names]
        if shown:
            return shown
    return list(names)


def best_rows(rows: Mapping[str, Results], metrics: Sequence[str]) -> dict[str, set[str]]:
    """For each metric the labels with the best value; nobody is best in one row, or where no direction is known."""
    best: dict[str, set[str]] = {}
    for name in metrics:
        values = {label: as_estimate(results[name]).value for label, results in rows.items() if name in results}
        values = {label: value for label, value in values.items() if not math.isnan(value)}
        better = {"min": min, "max": max, None: None}[direction(name)]
        top = better(values.values()) if better and len(values) > 1 else None
        best[name] = {label for label, value in values.items() if value == top}
    return best


def _rich_text(text: str, bold: bool):
    from rich.text import Text

    return Text(visible(text), style="bold" if bold else "")
