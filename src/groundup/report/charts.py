"""Places of lines and points in small SVG pictures with two axes; ``templates/charts.html`` draws them.

Colours come from the style sheet, so they follow light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from groundup.metrics.sections import Curves, Scatter, Trend
from groundup.report.points import Point, extremes, noisy, rounded, smoothed, thin
from groundup.report.scales import number, round_scale, short, step_label

Place = Callable[[Point], Point]

_WIDTH, _HEIGHT, _SQUARE = 460, 230, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 20, 12, 30
_DOTS = 40  # fewer points than this are marked
_COLOURS = {"train": "one", "validation": "two", "test": "three"}
_SEVERAL = ("one", "two", "three", "four", "five", "six", "seven", "eight")  # colours of lines of any names
_MARGIN, _ASIDE, _APART = 18, 6, 36  # pixels: of lines to the sides, between their whiskers, between numbers below


@dataclass
class Line:
    """A line of a chart: its ``path``, that of its ``raw`` values where it is smoothed, and ``whiskers`` for its intervals."""

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
    low, high, ticks = round_scale([y for points in lines.values() for _, y in points])
    first, last = span[0], max(span[1], span[0] + 1)

    def place(point: Point) -> Point:
        return _in_field((point[0] - first) / (last - first), (point[1] - low) / (high - low))

    grid = [(place((first, tick))[1], short(round(tick, 12))) for tick in ticks]
    steps = [tick for tick in round_scale([first, last])[2] if first <= tick <= last and tick == int(tick)]
    unit = next((step for step in steps if step > 0), None)
    labels = [step_label(step) + (f" step{'s' * (step > 1)}" if step == unit else "") for step in steps]
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
    low, high, ticks = round_scale([value for point in points for value in point])

    def place(point: Point) -> Point:
        x, y = ((value - low) / (high - low) for value in point)
        return _in_field(x, y, _SQUARE)

    labels = [(place((tick, tick)), short(round(tick, 12))) for tick in ticks]
    return ScatterChart(
        (scatter.x, scatter.y),
        [place(point) for point in points],
        [(y, label) for (_, y), label in labels],
        [(x, label) for (x, _), label in labels],
        (place((low, low)), place((high, high))),
    )


def share_chart(curves: Curves) -> LineChart:
    """Lines in a square from 0 to 1; at most as many as there are colours."""

    def place(point: Point) -> Point:
        return _in_field(*point, _SQUARE)

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
    low, high, ticks = round_scale([y for _, points in named for _, *ys in points for y in ys if y is not None])
    first, room = math.log(numbers[0]), math.log(numbers[-1] / numbers[0]) or 1.0

    def place(point: Point, aside: float = 0.0) -> Point:
        x = _LEFT + _MARGIN + (math.log(point[0]) - first) / room * (_WIDTH - _LEFT - _RIGHT - 2 * _MARGIN) + aside
        return x, _in_field(0, (point[1] - low) / (high - low))[1]

    lines = []
    for position, (name, points) in enumerate(named):
        aside = _ASIDE * (position - (len(named) - 1) / 2)
        dots = [place((x, y), aside) for x, y, *_ in points]
        ends = [
            (place((x, a), aside), place((x, b), aside)[1]) for x, _, a, b in points if a is not None and b is not None
        ]
        whiskers = "".join(f"M{x - 3:.1f} {a:.1f}h6m-3 0V{b:.1f}m-3 0h6" for (x, a), b in ends)
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in dots)
        lines.append(Line(name, _SEVERAL[position], path, dots=dots, whiskers=whiskers))
    steps: list[tuple[float, str]] = []
    for x in numbers[::-1]:
        if not steps or steps[0][0] - place((x, 0))[0] > _APART:
            steps.insert(0, (place((x, 0))[0], f"{x:,.10g}"))
    grid = [(place((numbers[0], tick))[1], short(round(tick, 12))) for tick in ticks]
    return LineChart(trend.title, lines, grid, steps, None)


def _in_field(x: float, y: float, height: int = _HEIGHT) -> Point:
    """The pixel of a place in the field between the axes: shares of its width from the left, of its height from below."""
    return _LEFT + x * (_WIDTH - _LEFT - _RIGHT), height - _BOTTOM - y * (height - _TOP - _BOTTOM)


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


def _colours(names: Iterable[str]) -> dict[str, str]:
    """A split has its colour in every chart; lines of other names get those that are left."""
    named = list(names)
    plain = [colour for colour in _SEVERAL if colour not in map(_COLOURS.get, named)]
    free = cycle([*plain, *(f"{colour} dashed" for colour in plain)])
    return {name: _COLOURS.get(name) or next(free) for name in named}
