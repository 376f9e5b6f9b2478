"""What a task shows of its predictions, as plain data that the report and W&B draw, whatever the task is.

Imports nothing heavy. Texts in it are texts, never markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

Content = Literal["word", "text", "mistake", "number"]
_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Mark:
    """Characters ``start`` to ``end`` of a text stand out, with a ``name`` behind them; ``right``: None: not judged."""

    start: int
    end: int
    name: str = ""
    right: bool | None = None


@dataclass(frozen=True)
class Cell:
    """A text in a table, with ``marks`` in it, in order and apart; a flag beside it (``source empty``), further texts below."""

    text: str
    flag: str = ""
    below: Sequence[str] = ()
    marks: Sequence[Mark] = ()

    def pieces(self) -> list[tuple[str, Mark | None]]:
        """The text in pieces, each with its mark."""
        found: list[tuple[str, Mark | None]] = []
        at = 0
        for mark in self.marks:
            found += [(self.text[at : mark.start], None), (self.text[mark.start : mark.end], mark)]
            at = mark.end
        return [piece for piece in (*found, (self.text[at:], None)) if piece[0]]


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Args:
        columns: name -> what is in it: a ``text`` is long and wrapped, a ``mistake`` is marked as one, a ``number`` stands
            to the right.
        rows: one cell a column; a plain text is a cell, too.
        title, note: above the table, beside each other.
        folded: the rows from this one on are folded away.
    """

    columns: Mapping[str, Content]
    rows: Sequence[Sequence[Cell | str]]
    title: str = ""
    note: str = ""
    folded: int | None = None
    kind: Literal["table"] = "table"


@dataclass(frozen=True)
class Matrix:
    """``counts[i][j]`` rows of class i were taken for class j. ``scores``: name -> a figure for each class, as printed."""

    labels: Sequence[str]
    counts: Sequence[Sequence[int]]
    scores: Mapping[str, Sequence[str]] = field(default_factory=dict)
    kind: Literal["matrix"] = "matrix"


@dataclass(frozen=True)
class Alignment:
    """Where a decoder looked: ``weights[u][s]`` on source token s when it wrote target token u; None: undefined."""

    source: Sequence[str]
    target: Sequence[str]
    weights: Sequence[Sequence[float | None]]
    kind: Literal["alignment"] = "alignment"


@dataclass(frozen=True)
class Scatter:
    """A dot for each of ``points`` (x, y), both in one unit, and the line on which both are equal."""

    x: str
    y: str
    points: Sequence[tuple[float, float]]
    kind: Literal["scatter"] = "scatter"


@dataclass(frozen=True)
class Curves:
    """Lines over shares from 0 to 1 on both axes: name -> points (x, y), x rising. ``diagonal``: where both are equal."""

    title: str
    x: str
    y: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    diagonal: bool = False
    kind: Literal["curves"] = "curves"


@dataclass(frozen=True)
class Trend:
    """Figures with their intervals over a number above 0: line -> points (x, value, low, high), x rising.

    ``low``, ``high``: None where they are unknown.
    """

    title: str
    x: str
    lines: Mapping[str, Sequence[tuple[_Positive, _Finite, _Finite | None, _Finite | None]]]
    kind: Literal["trend"] = "trend"


@dataclass(frozen=True)
class Highlights:
    """A text in tokens, each with how much it speaks for (above 0) or against what ``title`` says."""

    title: str
    note: str
    tokens: Sequence[str]
    weights: Sequence[float]
    kind: Literal["highlights"] = "highlights"


@dataclass(frozen=True)
class Section:
    """A part of the report with a title of its own."""

    title: str
    note: str = ""
    parts: Sequence[
        Annotated[Table | Matrix | Alignment | Scatter | Curves | Trend | Highlights, Field(discriminator="kind")]
    ] = ()

    def as_dict(self) -> dict[str, Any]:
        """The form of ``sections.json``."""
        return asdict(self)


def sections_from(saved: Any) -> list[Section]:
    """The content of ``sections.json`` as sections. Raises ValueError for anything else."""
    return TypeAdapter(list[Section]).validate_python(saved)
