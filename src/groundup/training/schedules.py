"""Learning-rate schedules: a warm-up, then a shape. All count optimizer steps.

Each function returns a ``LambdaLR`` whose factor multiplies every group's own base rate. The state in a checkpoint is
plain numbers; the shape itself is rebuilt from the config, so a resumed run continues on the same curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from groundup.errors import UserError

Amount = Annotated[float, Field(ge=0)]  # below 1: a share of all steps; else a number of steps
Share = Annotated[float, Field(ge=0, le=1)]


def constant(optimizer: Optimizer, total_steps: int, warmup: Amount = 0.0) -> LambdaLR:
    """Warm-up, then the base rate to the end."""
    return _schedule(optimizer, total_steps, warmup, lambda step, start: 1.0)


def linear(optimizer: Optimizer, total_steps: int, warmup: Amount = 0.0, final: Share = 0.0) -> LambdaLR:
    """Warm-up, then a straight line down to ``final`` (a share of the base rate) at the end."""
    return _schedule(
        optimizer, total_steps, warmup, lambda step, start: _line(_progress(step, start, total_steps), final)
    )


def cosine(optimizer: Optimizer, total_steps: int, warmup: Amount = 0.0, final: Share = 0.1) -> LambdaLR:
    """Warm-up, then half a cosine down to ``final`` (Loshchilov and Hutter 2017, no restarts)."""

    def shape(step: int, start: int) -> float:
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * _progress(step, start, total_steps)))

    return _schedule(optimizer, total_steps, warmup, shape)


def wsd(
    optimizer: Optimizer,
    total_steps: int,
    warmup: Amount = 0.0,
    decay: Amount = 0.2,
    final: Share = 0.0,
    shape: Literal["linear", "sqrt"] = "linear",
) -> LambdaLR:
    """Warm-up, stable, decay: the base rate is held, and falls to ``final`` over the last ``decay`` steps (or share).

    ``sqrt`` falls as 1 - sqrt(progress), fast at first. Source: Hu et al. 2024 (MiniCPM), Hägele et al. 2024.

    Raises:
        UserError: warm-up and decay together are longer than the run.
    """
    falling = _steps(decay, total_steps)
    if _steps(warmup, total_steps) + falling > total_steps:
        raise UserError(
            f"scheduler.warmup={warmup:g} and scheduler.decay={decay:g} are longer than the {total_steps} steps of the "
            f"run. Try scheduler.decay=0.2"
        )

    def factor(step: int, start: int) -> float:
        progress = _progress(step, total_steps - falling, total_steps)
        return _line(math.sqrt(progress) if shape == "sqrt" else progress, final)

    return _schedule(optimizer, total_steps, warmup, factor)


def inverse_sqrt(optimizer: Optimizer, total_steps: int, warmup: Amount = 0.1) -> LambdaLR:
    """Warm-up, then 1 / sqrt(step), equal to the base rate at the end of the warm-up (Vaswani et al. 2017)."""

    def shape(step: int, start: int) -> float:
        return math.sqrt(max(start, 1) / max(step + 1, start, 1))

    return _schedule(optimizer, total_steps, warmup, shape)


def _schedule(optimizer: Optimizer, total_steps: int, warmup: float, shape: Callable[[int, int], float]) -> LambdaLR:
    """``shape(step, start)`` after the warm-up. ``step`` counts the updates already done, so the first update of a
    warm-up of w steps uses 1/w of the rate (an update at rate 0 would be wasted) and the last uses all of it."""
    start = _steps(warmup, total_steps)
    if start > total_steps:
        raise UserError(f"scheduler.warmup={warmup:g} is longer than the {total_steps} steps of the run. Try 0.1")

    def factor(step: int) -> float:
        return (step + 1) / start if step < start else shape(step, start)

    return LambdaLR(optimizer, factor)


def _steps(amount: float, total_steps: int) -> int:
    return round(amount * total_steps) if amount < 1 else round(amount)


def _progress(step: int, start: int, end: int) -> float:
    """0 at ``start`` and before, 1 at ``end`` and after."""
    return min(max(step - start, 0) / max(end - start, 1), 1.0)


def _line(progress: float, final: float) -> float:
    return 1 - (1 - final) * progress
