"""A metric as a function of the number of labelled rows: what pretraining is worth, and what more labels are worth."""

from __future__ import annotations

import math
from collections.abc import Mapping

from groundup.metrics.estimate import Estimate
from groundup.metrics.sections import Cell, Section, Table, Trend
from groundup.report.table import Results, estimates, main_metrics, show_table


def show_learning_curve(systems: Mapping[str, Mapping[int, Results]], metric: str | None = None) -> tuple[Section, str]:
    """Prints a table with a row a system and a column a number of rows.

    Args:
        systems: label -> number of labelled rows -> results, as of ``show_table``.
        metric: what is shown, such as ``test/accuracy``; None: the first of the main ones.

    Returns: the same for the report, as a picture and a table, and as Markdown.
    """
    known = {label: {rows: estimates(one) for rows, one in sizes.items()} for label, sizes in systems.items()}
    name = metric or next(iter(main_metrics({f"{i}": one for i, one in enumerate(_all(known))})), "")
    lines = {
        label: {
            rows: one[name] for rows, one in sorted(sizes.items()) if name in one and math.isfinite(one[name].value)
        }
        for label, sizes in known.items()
    }
    lines = {label: line for label, line in lines.items() if line}
    numbers = sorted({rows for line in lines.values() for rows in line})
    title = f"{name} by number of labelled rows"
    shown = {label: {f"{rows:,}": one for rows, one in line.items()} for label, line in lines.items()}
    markdown = show_table(shown, [f"{rows:,}" for rows in numbers], title)
    return _section(name, lines, numbers), f"{title}\n\n{markdown}"


def _section(name: str, lines: Mapping[str, Mapping[int, Estimate]], numbers: list[int]) -> Section:
    some = [one for line in lines.values() for one in line.values()]
    title = str(some[0].metric or name) if some else name
    note = (
        f"{title[:1].upper()}{title[1:]} on the {name.partition('/')[0]} split after learning from so many labelled rows, "
        "with 95 % intervals."
    )
    points = {label: [(n, one.value, one.low, one.high) for n, one in line.items()] for label, line in lines.items()}
    rows: list[list[Cell | str]] = [[label, *(_cell(line.get(n)) for n in numbers)] for label, line in lines.items()]
    table = Table({"": "word", **{f"{n:,}": "number" for n in numbers}}, rows)
    return Section("Learning curve", note, [Trend(title, "labelled rows, logarithmic", points), table])


def _cell(estimate: Estimate | None) -> Cell:
    value, _, interval = str(estimate or "–").partition(" ")
    return Cell(value, below=[interval] if interval else [])


def _all(known: Mapping[str, Mapping[int, Mapping[str, Estimate]]]) -> list[Mapping[str, Estimate]]:
    return [one for sizes in known.values() for one in sizes.values()]
