"""Figures for people, and the round figures of an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence


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


def step_label(step: float) -> str:
    """A number of steps, whole as long as there is room for it: ``9,999``, ``10k``."""
    return short(step) if step >= 1e4 else f"{step:,.0f}"


def round_scale(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """(low, high, ticks) with round ticks around ``values``."""
    low, high = min(values), max(values)
    if high - low < 1e-9 * max(abs(high), 1e-12):
        low, high = low - (abs(low) * 0.1 or 0.5), high + (abs(high) * 0.1 or 0.5)
    rough = (high - low) / 4
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= rough)
    ticks = [step * i for i in range(math.floor(low / step), math.ceil(high / step) + 1)]
    return ticks[0], ticks[-1], ticks
