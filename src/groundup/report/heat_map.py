"""Where a decoder looked in its source, as a picture; ``templates/charts.html`` draws it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from groundup.metrics.sections import Alignment
from groundup.report.points import Point

_CELL = 18  # pixels of a side
_LONGEST = 60  # tokens on a side of a map; more are cut
_LETTER, _WIDE = 8.2, 13.0  # pixels a character takes
_FAINT = 0.01  # weights below are not drawn


@dataclass
class Map:
    """``across`` and ``down``: (pixel, token); ``cells``: (x, y, weight, what it is)."""

    size: tuple[float, float]
    corner: Point
    field: tuple[int, int]
    across: list[tuple[float, str]]
    down: list[tuple[float, str]]
    cells: list[tuple[float, float, float, str]]
    cut: str
    cell: int = _CELL


def heat_map(alignment: Alignment) -> Map | None:
    """Source tokens across, tokens written down; None without any."""
    across, down = ([_visible(token) for token in side[:_LONGEST]] for side in (alignment.source, alignment.target))
    if not across or not down:
        return None
    left = max(map(_width, down)) + 10
    top = max(map(_width, across)) * 0.71 + 18  # labels rise at 45 degrees
    last = max(_CELL * i + _width(token) * 0.71 for i, token in enumerate(across))
    cells = [
        (left + _CELL * s, top + _CELL * u, min(weight, 1) ** 0.5, f"{down[u]} ← {across[s]}: {weight:.2f}")
        for u, row in enumerate(alignment.weights[: len(down)])
        for s, weight in enumerate(row[: len(across)])
        if weight is not None and weight >= _FAINT
    ]
    sides = {"source": alignment.source, "target": alignment.target}
    cut = " and the ".join(name for name, tokens in sides.items() if len(tokens) > _LONGEST)
    return Map(
        size=(left + max(_CELL * len(across), last + _CELL) + 4, top + _CELL * len(down) + 4),
        corner=(left, top),
        field=(_CELL * len(across), _CELL * len(down)),
        across=[(left + _CELL * i, token) for i, token in enumerate(across)],
        down=[(top + _CELL * i, token) for i, token in enumerate(down)],
        cells=cells,
        cut=f"the first {_LONGEST} tokens of the {cut}" if cut else "",
    )


def _visible(token: str) -> str:
    """A token as it can be seen: blanks by their signs, long ones cut."""
    token = re.sub(r"[\n\r]", "↵", token)
    token = re.sub(r"\s", "␣", token) or "∅"
    return token if len(token) <= 16 else token[:15] + "…"


def _width(text: str) -> float:
    """Pixels of a text, about: Chinese, Japanese and Korean characters are twice as wide."""
    return sum(_WIDE if unicodedata.east_asian_width(character) in "WF" else _LETTER for character in text)
