"""Small charts as inline SVG. Colours come from the style sheet, so they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise

from groundup.metrics.estimate import Estimate

Line = Sequence[tuple[float, float]]  # (step, value), steps rising

_WIDTH, _HEIGHT = 460, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 20, 12, 30
_POINTS = 240  # more cannot be told apart at this width
_COLOURS = {"train": "one", "validation": "two", "test": "three"}


def line_chart(title: str, lines: Mapping[str, Line], span: tuple[float, float], best: str | None = None) -> str:
    """A figure with one line a split.

    Args:
        lines: split -> points. Long lines are averaged over neighbours and drawn over their faint raw values.
        span: first and last step of the axis, the same for all charts of a run.
        best: "min" or "max" marks the best point of the last line.
    """
    lines = {name: [p for p in points if math.isfinite(p[1])] for name, points in lines.items()}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return ""
    low, high, ticks = _scale([y for points in lines.values() for _, y in points])
    first, last = span[0], max(span[1], span[0] + 1)

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = _LEFT + (point[0] - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)
        return x, _TOP + (high - point[1]) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    drawn = [_grid(ticks, place, first), _steps(first, last, place)]
    for name, points in lines.items():
        drawn.append(_path(name, points, place))
    if best:
        drawn.append(_best_point(*list(lines.items())[-1], best, place))
    keys = "".join(f'<span class="key {_colour(name)}">{escape(name)}</span>' for name in lines)
    picture = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(drawn)}</svg>'
    return f"<figure><figcaption><b>{escape(title)}</b>{keys}</figcaption>{picture}</figure>"


def interval_bar(estimate: Estimate, low: float, high: float, kind: str = "") -> str:
    """A bar from ``low`` to the value, with a whisker for its 95 % interval, on a scale that ends at ``high``."""

    def place(value: float) -> float:
        return 120 * min(max((value - low) / (high - low or 1), 0), 1)

    whisker = ""
    if estimate.low is not None and estimate.high is not None:
        a, b = place(estimate.low), place(estimate.high)
        whisker = f'<path class="whisker" d="M{a:.1f} 4V12M{a:.1f} 8H{b:.1f}M{b:.1f} 4V12"/>'
    return (
        f'<svg class="bar" viewBox="0 0 120 16" aria-hidden="true"><rect class="track" width="120" height="8" y="4" rx="2"/>'
        f'<rect class="fill {kind}" width="{place(estimate.value):.1f}" height="8" y="4" rx="2"/>{whisker}</svg>'
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


def thin(points: Line, most: int = _POINTS) -> list[tuple[float, float]]:
    """At most ``most`` points: means of neighbours, the last point kept as it is."""
    if len(points) <= most:
        return list(points)
    size = len(points) / (most - 1)
    groups = [points[round(i * size) : round((i + 1) * size)] for i in range(most - 1)]
    means = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups if g]
    return [*means, points[-1]]


def _path(name: str, points: Line, place) -> str:
    colour = _colour(name)
    marks = ""
    if len(points) <= 40:
        dots = (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>' for x, y in map(place, points))
        marks = f'<g class="dots {colour}">{"".join(dots)}</g>'
    raw = ""
    if _noisy(points):  # draw the values faint, and the running mean over them
        raw = f'<path class="line faint {colour}" d="{_d(thin(points), place)}"/>'
        points = _smooth(points)
    return f'{raw}<path class="line {colour}" d="{_d(thin(points), place)}"/>{marks}'


def _noisy(points: Line) -> bool:
    """Many points that go up and down; a learning rate is smooth and must not be rounded off."""
    rises = [b[1] > a[1] for a, b in pairwise(points) if a[1] != b[1]]
    return len(points) > 80 and sum(a != b for a, b in pairwise(rises)) > len(points) / 5


def _smooth(points: Line) -> list[tuple[float, float]]:
    """Running mean over a 25th of the points to each side."""
    reach, sums = max(2, len(points) // 50), [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    smoothed = []
    for i, (x, _) in enumerate(points):
        r = min(reach, i, len(points) - 1 - i)  # even on both sides, so that the ends do not bend
        smoothed.append((x, (sums[i + r + 1] - sums[i - r]) / (2 * r + 1)))
    return smoothed


def _d(points: Line, place) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in map(place, points))


def _best_point(name: str, points: Line, best: str, place) -> str:
    step, value = (min if best == "min" else max)(points, key=lambda point: point[1])
    x, y = place((step, value))
    anchor = "end" if x > _WIDTH * 0.7 else "start" if x < _WIDTH * 0.3 else "middle"
    above = y - 8 if (best == "max" and y > 26) or y > _HEIGHT - _BOTTOM - 14 else y + 17
    return (
        f'<circle class="best {_colour(name)}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>best {escape(name)}: {number(value)} '
        f"at step {step:,.0f}</title></circle>"
        f'<text class="mark" x="{x:.1f}" y="{above:.1f}" text-anchor="{anchor}">{number(value)}</text>'
    )


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


def _grid(ticks: Sequence[float], place, first: float) -> str:
    parts = []
    for tick in ticks:
        y = place((first, tick))[1]
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">{short(round(tick, 12))}</text>')
    return "".join(parts)


def _steps(first: float, last: float, place) -> str:
    *_, ticks = _scale([first, last])
    parts: list[str] = []
    for tick in ticks:
        if first <= tick <= last and tick == int(tick):
            x = place((tick, 0))[0]
            unit = " steps" if not parts and tick > 0 else ""
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 11}" text-anchor="middle">{tick:,.0f}{unit}</text>')
    return "".join(parts)


def _colour(name: str) -> str:
    return _COLOURS.get(name, "one")
