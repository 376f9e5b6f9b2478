"""Systems side by side, as ``groundup compare`` prints them (Markdown, LaTeX, CSV) and as a page."""

from __future__ import annotations

import csv
import io
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from groundup.data.roles import ROLES
from groundup.metrics.estimate import Estimate, base_name
from groundup.metrics.sections import Cell, Content, Section, Table
from groundup.report.page import environment
from groundup.report.results import split_results
from groundup.report.table import best_rows, latex, main_metrics, markdown, side_by_side
from groundup.system.files import write_text

Format = Literal["md", "latex", "csv"]
FORMATS: dict[str, Format] = {".md": "md", ".tex": "latex", ".csv": "csv"}
_FOLDED = 8  # examples shown at once on the page
_WORD = 40  # characters of an answer that needs no column for long texts


@dataclass
class Duel:
    """A system against the first.

    ``differences``: metric -> its value minus the first's, with interval, and the p value of swapped answers (None: the
    systems have unequal numbers of runs). ``better``, ``worse``, ``same``: rows; ``mcnemar``: of rows that are right or wrong.
    ``examples``: pairs of rows, the loser's first, that this system has better, and that it has worse.
    """

    differences: dict[str, tuple[Estimate, float | None]] = field(default_factory=dict)
    better: int = 0
    worse: int = 0
    same: int = 0
    mcnemar: float | None = None
    examples: list[list[tuple[dict, dict]]] = field(default_factory=list)


@dataclass
class Comparison:
    """``known``: baselines, then systems -> their figures; ``duels``: of each system but the ``first``.

    ``columns``: roles of what was asked and of what is right; ``rows``: how many were compared. ``differs``: what differs
    in how the systems were made -> system -> its value.
    """

    split: str
    known: dict[str, dict[str, Estimate]]
    first: str
    columns: Sequence[str] = ()
    rows: int = 0
    duels: dict[str, Duel] = field(default_factory=dict)
    differs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def in_format(comparison: Comparison, form: Format, metrics: Sequence[str] = ()) -> str:
    """The figures of all systems, their differences from the first, and in what they were made otherwise (not in CSV).

    ``metrics``: columns, by default the main ones.
    """
    if form == "csv":
        return _csv(comparison)
    names = [name if "/" in name else f"{comparison.split}/{name}" for name in metrics]
    names = names or main_metrics(comparison.known)
    write = latex if form == "latex" else markdown
    strong = r"\textbf{%s}" if form == "latex" else "**%s**"
    wide = form == "latex" or not sys.stdout.isatty()
    width = 10_000 if wide else shutil.get_terminal_size().columns
    tables = []
    for shown in side_by_side(comparison.known, names, width):
        best = {name: best_rows(comparison.known, name) for name in shown}
        lines = []
        for label, figures in comparison.known.items():
            cells = {name: str(figures[name]) if name in figures else "-" for name in shown}
            lines.append([label, *(strong % cell if label in best[name] else cell for name, cell in cells.items())])
        tables.append(write(["", *(_title(comparison, name) if form == "latex" else name for name in shown)], lines))
    for group in side_by_side(_signed(comparison), _tested(comparison, names), width) if comparison.duels else ():
        lines = [[label, *(_difference(duel, name) for name in group)] for label, duel in comparison.duels.items()]
        heads = [_title(comparison, f"{comparison.split}/{name}") if form == "latex" else name for name in group]
        tables.append(write([f"minus {comparison.first}", *heads], lines))
    if comparison.duels:
        tables.append(write(*_counts(comparison)))
    if comparison.differs:
        tables.append(write(*_made(comparison)))
    return "\n\n".join(tables)


def _title(comparison: Comparison, name: str) -> str:
    """What people call a metric."""
    known = [figures[name].metric for figures in comparison.known.values() if name in figures]
    return str(known[0]) if known and known[0] else name


def _tested(comparison: Comparison, names: Sequence[str]) -> list[str]:
    tested = [name for duel in comparison.duels.values() for name in duel.differences]
    return [base_name(name) for name in names if base_name(name) in tested]


def _signed(comparison: Comparison) -> dict[str, dict[str, Estimate]]:
    """Differences in the shape of figures, for their widths."""
    return {
        f"minus {comparison.first} {label}": {name: one for name, (one, _) in duel.differences.items()}
        for label, duel in comparison.duels.items()
    }


def _difference(duel: Duel, name: str) -> str:
    """``+0.0131 [0.0012, 0.0250] p=0.0312``."""
    if name not in duel.differences:
        return "-"
    estimate, p = duel.differences[name]
    return _signed_text(estimate) + ("" if p is None else f" {_p(p)}")


def _signed_text(difference: Estimate) -> str:
    text = str(difference)
    return text if text[0] == "-" else f"+{text}"


def _p(p: float) -> str:
    return "p<0.0001" if p < 1e-4 else f"p={p:.4f}"


def _counts(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """On how many rows each system is better and worse than the first."""
    head = [f"rows, against {comparison.first}", "better", "worse", "same", "McNemar"]
    lines = [
        [
            label,
            *(f"{n:,}" for n in (duel.better, duel.worse, duel.same)),
            "-" if duel.mcnemar is None else _p(duel.mcnemar),
        ]
        for label, duel in comparison.duels.items()
    ]
    if all(duel.mcnemar is None for duel in comparison.duels.values()):
        return head[:-1], [line[:-1] for line in lines]
    return head, lines


def _made(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    """What differs in how the systems were made; a column each."""
    names = list(next(iter(comparison.differs.values())))
    return ["what differs", *names], [[key, *values.values()] for key, values in comparison.differs.items()]


def _csv(comparison: Comparison) -> str:
    """Every figure of the split, a line each, in full precision."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow("system metric value low high deviation n difference difference_low difference_high p".split())
    for label, figures in comparison.known.items():
        duel = comparison.duels.get(label, Duel())
        for name, one in figures.items():
            found, p = duel.differences.get(base_name(name), (None, None))
            against = [found.value, found.low, found.high, p] if found else [None] * 4
            cells = [one.value, one.low, one.high, one.deviation, one.n, *against]
            writer.writerow([label, name, *("" if cell is None else cell for cell in cells)])
    return file.getvalue().rstrip("\n")


def write_page(output: Path, comparison: Comparison, folders: Mapping[str, Sequence[str]]) -> None:
    """The comparison as a page: figures with bars, differences, and the rows on which systems differ."""
    content = {
        "title": f"{', '.join(name for name in folders if name != comparison.first)} against {comparison.first}",
        "results": split_results(comparison.known, comparison.split),
        "ours": comparison.first,
        "folders": folders,
        "sections": [
            *_difference_sections(comparison),
            *_made_sections(comparison),
            *_example_sections(comparison),
        ],
    }
    write_text(output, environment().get_template("comparison.html").render(content))


def _difference_sections(comparison: Comparison) -> list[Section]:
    if not comparison.duels:
        return []
    columns: dict[str, Content] = {"": "word", "metric": "word", "difference": "number", "95 % interval": "number"}
    lines: list[list[Cell | str]] = []
    for label, duel in comparison.duels.items():
        for name, (one, p) in duel.differences.items():
            value, _, interval = _signed_text(one).partition(" ")
            lines.append([label, str(one.metric or name), value, interval, "-" if p is None else _p(p)])
    note = (
        f"With 95 % intervals of the paired bootstrap over {comparison.rows:,} rows; p: how often systems that answer alike "
        "would differ as much (answers swapped at random). Neither is corrected for the number of comparisons."
    )
    head, counts = _counts(comparison)
    rows = Table({head[0]: "word", **dict.fromkeys(head[1:], "number")}, counts)
    tested = Table({**columns, "p": "number"}, lines)
    return [Section(f"Differences from {comparison.first}", note, [tested, rows])]


def _made_sections(comparison: Comparison) -> list[Section]:
    if not comparison.differs:
        return []
    (corner, *names), lines = _made(comparison)
    note = "Settings, code (a commit, and a digest of changes to it), data and packages; what is alike is left out."
    table = Table({corner: "word", **dict.fromkeys(names, "word")}, lines, folded=_FOLDED)  # type: ignore[arg-type]
    return [Section("What differs", note, [table])]


def _example_sections(comparison: Comparison) -> list[Section]:
    sections = []
    for label, duel in comparison.duels.items():
        told = zip(duel.examples, (label, comparison.first), (comparison.first, label), (duel.better, duel.worse))
        tables = [
            _examples(comparison.columns, rows, winner, loser, count) for rows, winner, loser, count in told if rows
        ]
        if tables:
            sections.append(
                Section(f"Where {label} and {comparison.first} differ", "The surest mistakes first.", tables)
            )
    return sections


def _examples(asked: Sequence[str], rows: Sequence[tuple[dict, dict]], winner: str, loser: str, count: int) -> Table:
    """What was asked, what is right, and both answers."""
    gold = [role for role in asked if not ROLES[role].given and role in rows[0][0]]
    lines: list[list[Cell | str]] = []
    for lost, won in rows:
        first, *more = [_text(lost[role]) for role in lost if role in ROLES and ROLES[role].given and lost[role]] or [
            ""
        ]
        told = [_text(lost[role]) for role in gold]
        lines.append([Cell(first, below=more), *told, _answer(won), _answer(lost)])
    columns: dict[str, Content] = {"row": "text"}
    for place, name in enumerate([*gold, winner, loser], 1):
        columns[name] = "word" if all(len(str(line[place])) <= _WORD for line in lines) else "text"
    return Table(columns, lines, f"{winner} is better", f"{count:,} rows", folded=_FOLDED)


def _answer(row: Mapping) -> str:
    """What a row was answered, which stands first behind what was asked, and how sure that was."""
    name = next((name for name in row if name not in ROLES and name != "index"), None)
    sure = row.get("probability")
    return (_text(row[name]) if name else "") + (f" ({sure:.2f})" if isinstance(sure, float) else "")


def _text(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
