"""Places of lines, bars and heat maps in small SVG pictures; ``templates/charts.html`` draws them.

Colours come from the style sheet, so they follow light and dark.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from groundup.metrics.estimate import Estimate
from groundup.metrics.sections import Alignment, Curves, Scatter, Trend
from groundup.report.points import Point, extremes, noisy, rounded, smoothed, thin

Place = Callable[[Point], Point]

_WIDTH, _HEIGHT, _SQUARE = 460, 230, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 20, 12, 30
_DOTS = 40  # fewer points than this are marked
_COLOURS = {"train": "one", "validation": "two", "test": "three"}
_SEVERAL = ("one", "two", "three", "four", "five", "six", "seven", "eight")  # colours of lines of any names
_MARGIN, _ASIDE, _APART = 18, 6, 36  # pixels: of lines to the sides, between their whiskers, between numbers below
_BAR = 120
_CELL = 18
_LONGEST = 60  # tokens on a side of a map; more are cut
_LETTER, _WIDE = 8.2, 13.0  # pixels a character takes
_FAINT = 0.01  # weights below are not drawn


@dataclass
class Line:
    """The path of a split through its points, of the values behind it where they are smoothed, and of its intervals."""

    name: str
    colour: str
    path: str
    raw: str = ""
    dots: list[Point] = field(default_factory=list)
    whiskers: str = ""


@dataclass
class Best:
    """The best point of a line, and where its figure stands."""

    at: Point
    colour: str
    text: str
    title: str
    below: float
    anchor: str


@dataclass
class LineChart:
    """``grid`` and ``steps``: (pixel, label) of the ticks on both axes. ``data``: what ``templates/page.js`` draws anew from."""

    title: str
    lines: list[Line]
    grid: list[tuple[float, str]]
    steps: list[tuple[float, str]]
    best: Best | None
    size: tuple[int, int] = (_WIDTH, _HEIGHT)
    field: tuple[int, int] = (_LEFT, _WIDTH - _RIGHT)
    data: dict[str, Any] | None = None


@dataclass
class ScatterChart:
    """``grid`` and ``steps`` as of a LineChart; ``diagonal``: the two ends of the line on which x and y are equal."""

    names: tuple[str, str]
    dots: list[Point]
    grid: list[tuple[float, str]]
    steps: list[tuple[float, str]]
    diagonal: tuple[Point, Point]
    size: tuple[int, int] = (_WIDTH, _SQUARE)
    field: tuple[int, int] = (_LEFT, _WIDTH - _RIGHT)


@dataclass
class Bar:
    """``whisker``: the ends of the interval; None: unknown."""

    width: float
    whisker: tuple[float, float] | None


@dataclass
class Map:
    """Where a decoder looked, as a picture; ``across`` and ``down``: (pixel, token); ``cells``: (x, y, weight, what it is)."""

    size: tuple[float, float]
    corner: Point
    field: tuple[int, int]
    across: list[tuple[float, str]]
    down: list[tuple[float, str]]
    cells: list[tuple[float, float, float, str]]
    cut: str
    cell: int = _CELL


def line_chart(
    title: str, lines: Mapping[str, Sequence[Point]], span: tuple[float, float], best: str | None = None
) -> LineChart | None:
    """One line a split; None where no value is a number.

    Args:
        lines: split -> points, steps rising. Long lines are averaged over neighbours, above their faint raw values. One
            without points is not drawn, and keeps its colour for other charts.
        span: first and last step of the axis, the same for all charts of a run.
        best: "min" or "max" marks the best point of the last line.
    """
    colours = _colours(lines)
    lines = {name: [p for p in points if math.isfinite(p[1])] for name, points in lines.items()}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return None
    low, high, ticks = _scale([y for points in lines.values() for _, y in points])
    first, last = span[0], max(span[1], span[0] + 1)

    def place(point: Point) -> Point:
        x = _LEFT + (point[0] - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)
        return x, _TOP + (high - point[1]) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    grid = [(place((first, tick))[1], short(round(tick, 12))) for tick in ticks]
    steps = [tick for tick in _scale([first, last])[2] if first <= tick <= last and tick == int(tick)]
    unit = next((step for step in steps if step > 0), None)
    labels = [_step(step) + (f" step{'s' * (step > 1)}" if step == unit else "") for step in steps]
    last_line = list(lines)[-1]
    smooth = {name: thin(smoothed(points)) for name, points in lines.items() if noisy(points)}
    kept = {name: extremes(points) for name, points in lines.items()}
    data = {
        "lines": [
            {
                "name": name,
                "colour": colours[name],
                "points": rounded(kept[name]),
                "smooth": rounded(smooth.get(name, ())),
            }
            for name in lines
        ],
        "unit": "steps",
        "x": [first, last],
        "y": [low, high],
        "box": [_LEFT, _WIDTH - _RIGHT, _TOP, _HEIGHT - _BOTTOM],
    }
    return LineChart(
        title,
        [_line(name, colours[name], points, smooth.get(name), place) for name, points in kept.items()],
        grid,
        [(place((step, 0))[0], label) for step, label in zip(steps, labels, strict=True)],
        _best_point(last_line, lines[last_line], best, place, colours[last_line]) if best else None,
        data=data,
    )


def scatter_chart(scatter: Scatter) -> ScatterChart | None:
    """None where no point has two numbers. Both axes have one scale."""
    points = [point for point in scatter.points if all(map(math.isfinite, point))]
    if not points:
        return None
    low, high, ticks = _scale([value for point in points for value in point])

    def place(point: Point) -> Point:
        x, y = ((value - low) / (high - low) for value in point)
        return _LEFT + x * (_WIDTH - _LEFT - _RIGHT), _SQUARE - _BOTTOM - y * (_SQUARE - _TOP - _BOTTOM)

    labels = [(place((tick, tick)), short(round(tick, 12))) for tick in ticks]
    return ScatterChart(
        (scatter.x, scatter.y),
        [place(point) for point in points],
        [(y, label) for (_, y), label in labels],
        [(x, label) for (x, _), label in labels],
        (place((low, low)), place((high, high))),
    )


def bar(estimate: Estimate, high: float) -> Bar:
    """A bar from 0 to the value, with a whisker for its 95 % interval, on a scale that ends at ``high``."""

    def place(value: float) -> float:
        return _BAR * min(max(value / (high or 1), 0), 1)

    known = estimate.low is not None and estimate.high is not None
    return Bar(place(estimate.value), (place(estimate.low), place(estimate.high)) if known else None)  # type: ignore[arg-type]


def share_chart(curves: Curves) -> LineChart:
    """Lines in a square from 0 to 1; at most as many as there are colours."""

    def place(point: Point) -> Point:
        return (
            _LEFT + point[0] * (_WIDTH - _LEFT - _RIGHT),
            _SQUARE - _BOTTOM - point[1] * (_SQUARE - _TOP - _BOTTOM),
        )

    named = zip(curves.lines.items(), _SEVERAL, strict=False)
    lines = [Line(name, colour, _path(points, place)) for (name, points), colour in named if points]
    if len(curves.lines) == 1 and lines:
        lines[0].dots = [place(point) for point in next(iter(curves.lines.values()))]
    if curves.diagonal:
        lines.append(Line("equal", "even", _path([(0, 0), (1, 1)], place)))
    ticks = [(place((tick, tick)), short(tick)) for tick in (0, 0.25, 0.5, 0.75, 1)]
    return LineChart(
        curves.title,
        lines,
        [(y, label) for (_, y), label in ticks],
        [(x, label) for (x, _), label in ticks],
        None,
        size=(_WIDTH, _SQUARE),
    )


def trend_chart(trend: Trend) -> LineChart | None:
    """Lines with whiskers over a logarithmic axis, a little beside each other; None without a point.

    At most as many lines as there are colours; a number that would stand too close to the next is not written.
    """
    named = [(name, points) for name, points in trend.lines.items() if points][: len(_SEVERAL)]
    if not named:
        return None
    numbers = sorted({x for _, points in named for x, *_ in points})
    low, high, ticks = _scale([y for _, points in named for _, *ys in points for y in ys if y is not None])
    first, room = math.log(numbers[0]), math.log(numbers[-1] / numbers[0]) or 1.0

    def place(point: Point, aside: float = 0.0) -> Point:
        x = _LEFT + _MARGIN + (math.log(point[0]) - first) / room * (_WIDTH - _LEFT - _RIGHT - 2 * _MARGIN) + aside
        return x, _TOP + (high - point[1]) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    lines = []
    for number, (name, points) in enumerate(named):
        aside = _ASIDE * (number - (len(named) - 1) / 2)
        dots = [place((x, y), aside) for x, y, *_ in points]
        ends = [
            (place((x, a), aside), place((x, b), aside)[1]) for x, _, a, b in points if a is not None and b is not None
        ]
        whiskers = "".join(f"M{x - 3:.1f} {a:.1f}h6m-3 0V{b:.1f}m-3 0h6" for (x, a), b in ends)
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in dots)
        lines.append(Line(name, _SEVERAL[number], path, dots=dots, whiskers=whiskers))
    steps: list[tuple[float, str]] = []
    for x in numbers[::-1]:
        if not steps or steps[0][0] - place((x, 0))[0] > _APART:
            steps.insert(0, (place((x, 0))[0], f"{x:,.10g}"))
    grid = [(place((numbers[0], tick))[1], short(round(tick, 12))) for tick in ticks]
    return LineChart(trend.title, lines, grid, steps, None)


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


def number(value: float) -> str:
    """A figure for people: 4 significant digits, thousands parted."""
    if not math.isfinite(value):
        return "–"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")


def short(value: float) -> str:
    """A figure for an axis, in the few letters that there is room for: ``1.25M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if unit == 'k' else size):.4g}{unit}"
    return number(value)


def _step(step: float) -> str:
    return short(step) if step >= 1e4 else f"{step:,.0f}"


def _line(name: str, colour: str, points: Sequence[Point], smooth: Sequence[Point] | None, place: Place) -> Line:
    dots = list(map(place, points)) if len(points) <= _DOTS else []
    path = _path(points, place)
    return (
        Line(name, colour, path, dots=dots) if smooth is None else Line(name, colour, _path(smooth, place), path, dots)
    )


def _path(points: Sequence[Point], place: Place) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in map(place, points))


def _best_point(name: str, points: Sequence[Point], best: str, place: Place, colour: str) -> Best:
    step, value = (min if best == "min" else max)(points, key=lambda point: point[1])
    x, y = place((step, value))
    anchor = "end" if x > _WIDTH * 0.7 else "start" if x < _WIDTH * 0.3 else "middle"
    above = (best == "max" and y > 26) or y > _HEIGHT - _BOTTOM - 14
    title = f"best {name}: {number(value)} at step {step:,.0f}"
    return Best((x, y), colour, number(value), title, y - 8 if above else y + 17, anchor)


def _scale(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """(low, high, ticks) with round ticks around ``values``."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(abs(high), 1e-12):
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    rough = (high - low) / 4
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= rough)
    ticks = [step * i for i in range(math.floor(low / step), math.ceil(high / step) + 1)]
    return ticks[0], ticks[-1], ticks


def _colours(names: Iterable[str]) -> dict[str, str]:
    """A split has its colour in every chart; lines of other names get those that are left."""
    named = list(names)
    plain = [colour for colour in _SEVERAL if colour not in map(_COLOURS.get, named)]
    free = cycle([*plain, *(f"{colour} dashed" for colour in plain)])
    return {name: _COLOURS.get(name) or next(free) for name in named}


def _visible(token: str) -> str:
    """A token as it can be seen: blanks by their signs, long ones cut."""
    token = re.sub(r"[\n\r]", "↵", token)
    token = re.sub(r"\s", "␣", token) or "∅"
    return token if len(token) <= 16 else token[:15] + "…"


def _width(text: str) -> float:
    """Pixels of a text, about: Chinese, Japanese and Korean characters are twice as wide."""
    return sum(_WIDE if unicodedata.east_asian_width(character) in "WF" else _LETTER for character in text)
