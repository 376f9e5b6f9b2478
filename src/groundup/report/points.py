"""Reduces long curves to as many points as a picture can show."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

Point = tuple[float, float]  # (step, value), or a place in the picture in pixels
POINTS = 240  # more cannot be told apart at the width of a chart
KEPT = 600  # for zooming in


def thin(points: Sequence[Point], most: int = POINTS) -> list[Point]:
    """At most ``most`` points: means of neighbours, the last point kept as it is."""
    if len(points) <= most:
        return list(points)
    size = len(points) / (most - 1)
    groups = [points[round(i * size) : round((i + 1) * size)] for i in range(most - 1)]
    means = [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups if g]
    return [*means, points[-1]]


def extremes(points: Sequence[Point], most: int = KEPT) -> list[Point]:
    """At most ``most`` of the points: the lowest and the highest of neighbours, so that no spike is lost, and both ends."""
    if len(points) <= most:
        return list(points)
    size = (len(points) - 2) / (most // 2 - 1)
    kept = [points[0]]
    for i in range(most // 2 - 1):
        group = points[1 + round(i * size) : 1 + round((i + 1) * size)]
        kept += sorted({min(group, key=lambda point: point[1]), max(group, key=lambda point: point[1])})
    return [*kept, points[-1]]


def rounded(points: Sequence[Point]) -> list[list[float]]:
    """With the six digits that a page needs."""
    return [[x, float(f"{y:.6g}")] for x, y in points]


def noisy(points: Sequence[Point]) -> bool:
    """Many points that go up and down; a learning rate is smooth and must not be rounded off."""
    rises = [b[1] > a[1] for a, b in pairwise(points) if a[1] != b[1]]
    return len(points) > 80 and sum(a != b for a, b in pairwise(rises)) > len(points) / 5


def smoothed(points: Sequence[Point]) -> list[Point]:
    """Running mean over a 50th of the points to each side; near the ends over as many as there are on both sides, so that they
    do not bend, and the very first and last, which would be single points, are left out."""
    reach, sums = max(2, len(points) // 50), [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    means = []
    for i, (x, _) in enumerate(points):
        r = min(reach, i, len(points) - 1 - i)
        if r >= reach // 4:
            means.append((x, (sums[i + r + 1] - sums[i - r]) / (2 * r + 1)))
    return means
