"""Parallel coordinates: the settings of all jobs of a sweep as axes side by side, and each job as a line through them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from groundup.report.scales import number


@dataclass
class Axis:
    """``ticks``: (pixel, label) down the axis."""

    x: float
    name: str
    ticks: list[tuple[float, str]]


@dataclass
class Way:
    """The line of a job through all axes."""

    name: str
    path: str
    colour: str
    best: bool


@dataclass
class Parallel:
    """Axes side by side, and a line for each job; ``ends``: pixels of the top and the bottom of an axis."""

    axes: list[Axis]
    lines: list[Way]
    size: tuple[int, int]
    ends: tuple[int, int]


def parallel_chart(
    columns: Mapping[str, Sequence[str]], score: str, scores: Sequence[float], lower: bool, names: Sequence[str]
) -> Parallel:
    """Parallel coordinates (Inselberg 1985): an axis for each setting, and one for the score, on which better is higher.

    Args:
        columns: setting -> its value in each job. Numbers stand by their size, on a logarithmic axis if they span a factor of
            twenty; other values in their order of appearance.
        scores: of each job. names: what is told of each job under the pointer.
    """
    top, bottom = 28, 300
    width = max(460, 170 * (len(columns) + 1))
    places = [width * (i + 0.5) / (len(columns) + 1) - 30 for i in range(len(columns) + 1)]
    axes, heights = [], []
    for x, (name, values) in zip(places, columns.items(), strict=False):
        shares, ticks = _along(values)
        axes.append(Axis(x, name, [(bottom - share * (bottom - top), label) for share, label in ticks]))
        heights.append(shares)
    low, high = min(scores), max(scores)
    good = [(high - s if lower else s - low) / (high - low or 1) for s in scores]
    ends = [(1.0, number(low if lower else high)), (0.0, number(high if lower else low))]
    axes.append(Axis(places[-1], score, [(bottom - share * (bottom - top), label) for share, label in ends]))
    heights.append(good)
    limit = sorted(good, reverse=True)[max(0, math.ceil(len(good) / 4) - 1)]
    lines = []
    for job, name in enumerate(names):
        points = [(x, bottom - shares[job] * (bottom - top)) for x, shares in zip(places, heights, strict=True)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        lines.append(Way(name, path, "two" if good[job] >= limit else "seven", good[job] >= limit))
    return Parallel(axes, sorted(lines, key=lambda line: line.best), (width, 320), (top, bottom))


def _along(values: Sequence[str]) -> tuple[list[float], list[tuple[float, str]]]:
    """Where each value stands on an axis from 0 to 1, and the ticks of the axis."""
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        numbers = []
    if not numbers or not all(map(math.isfinite, numbers)):
        order = {value: place for place, value in enumerate(dict.fromkeys(values))}
        most = max(1, len(order) - 1)
        return [order[value] / most for value in values], [(place / most, value[:24]) for value, place in order.items()]
    low, high = min(numbers), max(numbers)
    logarithmic = low > 0 and high / low > 20
    scale = math.log if logarithmic else float
    room = (scale(high) - scale(low)) or 1.0
    different = sorted(set(numbers))
    shown = different if len(different) <= 8 else [low, high]
    return (
        [(scale(n) - scale(low)) / room for n in numbers],
        [((scale(n) - scale(low)) / room, f"{n:.4g}") for n in shown],
    )
