"""Tables for the terminal and in Markdown: results of several systems, and of the jobs of a sweep."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence

from groundup.metrics.estimate import Estimate
from groundup.system.streams import padded, visible, width_of

Results = Mapping[str, Estimate | Mapping]  # metric name -> estimate, or its dict from metrics.json

_SPECIAL = re.compile(r"[&%$#_{}]")
_LETTERS = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": "$<$"}


def show_table(rows: Mapping[str, Results], metrics: Sequence[str] | None = None, title: str | None = None) -> str:
    """Print results with their 95 % intervals, the best of each column in bold.

    Args:
        rows: label -> results, in the order to show.
        metrics: names of the columns, such as ``test/accuracy``; by default the main ones that occur.

    Returns:
        The table as Markdown.
    """
    from rich.console import Console

    known = {label: estimates(results) for label, results in rows.items()}
    metrics = list(metrics or main_metrics(known))
    console = Console()
    if not console.is_terminal:  # a log file has no width to fit into
        console = Console(width=200)
    for number, shown in enumerate(side_by_side(known, metrics, console.width)):
        console.print(_rich_table(known, shown, title if number == 0 else None))
    return results_as_markdown(known, metrics)


def estimates(results: Results) -> dict[str, Estimate]:
    """Results as estimates, whether they come from a file or not."""
    return {name: one if isinstance(one, Estimate) else Estimate.from_dict(one, name) for name, one in results.items()}


def main_metrics(rows: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    """Metric names worth a column, in the order of the longest row: of test, else of rows held out, else of validation."""
    found = {name: one for results in sorted(rows.values(), key=len, reverse=True) for name, one in results.items()}
    main = [name for name, one in found.items() if one.metric and one.metric.shown == "table" and one.group is None]
    for split in ("test/", "out_of_fold/", "validation/", ""):
        if shown := [name for name in main if name.startswith(split)]:
            return shown
    return list(found)


def best_rows(rows: Mapping[str, Mapping[str, Estimate]], name: str) -> set[str]:
    """The labels with the best value of a metric; nobody is best in one row, or where no direction is known."""
    found = {label: results[name] for label, results in rows.items() if name in results}
    better = next((one.metric.better for one in found.values() if one.metric), None)
    values = {label: one.value for label, one in found.items() if not math.isnan(one.value)}
    if better is None or len(values) < 2:
        return set()
    top = min(values.values()) if better == "min" else max(values.values())
    return {label for label, value in values.items() if value == top}


def side_by_side(rows: Mapping[str, Mapping[str, Estimate]], metrics: Sequence[str], width: int) -> list[list[str]]:
    """The metrics as tables of at most ``width`` characters, in their order; each has one column at least."""
    widest = max([width_of(label) for label in rows], default=0)
    groups: list[list[str]] = []
    left = 0
    for name in metrics:
        column = max(len(text) for text in (name, *(_cell(results, name) for results in rows.values()))) + 3
        if not groups or column > left:  # 3: a line and two blanks
            groups.append([])
            left = width - widest - 4
        groups[-1].append(name)
        left -= column
    return groups or [[]]


def results_as_markdown(rows: Mapping[str, Mapping[str, Estimate]], metrics: Sequence[str]) -> str:
    """Results as Markdown, the best of each column in bold."""
    best = {name: best_rows(rows, name) for name in metrics}
    lines = []
    for label, results in rows.items():
        cells = {name: _cell(results, name) for name in metrics}
        lines.append([label, *(f"**{cell}**" if label in best[name] else cell for name, cell in cells.items())])
    return markdown(["", *metrics], lines) + "\n"


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table in Markdown that reads well on a terminal, too: its columns are aligned."""
    cells = [
        [json.dumps(cell)[1:-1] if "\n" in cell else cell.replace("|", r"\|") for cell in line]
        for line in (head, *lines)
    ]
    widths = [max(width_of(line[column]) for line in cells) for column in range(len(head))]
    rows = [
        "| " + " | ".join(padded(cell, width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in cells
    ]
    return "\n".join([rows[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rows[1:]])


def latex(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table for ``\\usepackage{booktabs}``."""
    rows = [" & ".join(map(_escaped, line)) + r" \\" for line in (head, *lines)]
    body = [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule", rows[0], r"\midrule", *rows[1:]]
    return "\n".join([*body, r"\bottomrule", r"\end{tabular}"])


def _escaped(cell: str) -> str:
    strong = re.fullmatch(r"\\textbf\{(.*)\}", cell)
    if strong:
        return rf"\textbf{{{_escaped(strong[1])}}}"
    text = "".join(_LETTERS.get(letter, letter) for letter in _SPECIAL.sub(lambda found: "\0" + found[0], cell))
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", text.replace("\0", "\\"))


def _cell(results: Mapping[str, Estimate], name: str) -> str:
    return str(results[name]) if name in results else "-"


def _rich_table(rows: Mapping[str, Mapping[str, Estimate]], metrics: Sequence[str], title: str | None):
    from rich.table import Table
    from rich.text import Text

    def text(cell: str, style: str = "") -> Text:  # markup would swallow the brackets of the intervals
        return Text(visible(cell), style=style)

    best = {name: best_rows(rows, name) for name in metrics}
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("", overflow="fold")
    for name in metrics:
        table.add_column(text(name), justify="right", no_wrap=True)
    for label, results in rows.items():
        cells = [text(_cell(results, name), "bold" if label in best[name] else "") for name in metrics]
        table.add_row(text(label), *cells)
    return table
