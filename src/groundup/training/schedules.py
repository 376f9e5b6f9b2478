"""Learning-rate schedules: a warm-up, then a shape. All count optimizer steps.

Each makes a ``LambdaLR`` whose factor multiplies every group's own base rate. The state in a checkpoint is
plain numbers; the shape itself is rebuilt from the config, so a resumed run continues on the same curve.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from groundup.errors import UserError
from groundup.ranges import Share

Amount = Annotated[float, Field(ge=0)]  # below 1: a share of all steps; else a number of steps


class Schedule:
    """The shape of a learning rate; called with an optimizer and the length of the run, it gives a ``LambdaLR``.

    ``warmup``: steps (or share) over which the rate rises evenly. A subclass says by ``factor`` what follows.
    """

    def __init__(self, warmup: float) -> None:
        self.warmup = warmup

    def factor(self, step: int, start: int, total: int) -> float:
        """Share of the base rate after ``step`` updates; the warm-up ends at ``start``, the run at ``total``."""
        raise NotImplementedError

    def __call__(self, optimizer: Optimizer, total_steps: int) -> LambdaLR:
        """Raises UserError when the run is shorter than its parts.

        A step counts the updates already done, so the first update of a warm-up of w steps uses 1/w of the rate (an
        update at rate 0 would be wasted) and the last uses all of it.
        """
        start = _steps(self.warmup, total_steps)
        if start > total_steps:
            raise UserError(
                f"scheduler.warmup={self.warmup:g} is longer than the {total_steps} steps of the run. Try 0.1"
            )

        def factor(step: int) -> float:
            return (step + 1) / start if step < start else self.factor(step, start, total_steps)

        return LambdaLR(optimizer, factor)


class Constant(Schedule):
    """Warm-up, then the base rate to the end."""

    def __init__(self, warmup: Amount = 0.0) -> None:
        super().__init__(warmup)

    def factor(self, step: int, start: int, total: int) -> float:
        return 1.0


class Linear(Schedule):
    """Warm-up, then a straight line down to ``final`` (a share of the base rate) at the end."""

    def __init__(self, warmup: Amount = 0.1, final: Share = 0.0) -> None:
        super().__init__(warmup)
        self.final = final

    def factor(self, step: int, start: int, total: int) -> float:
        return _line(_progress(step, start, total), self.final)


class Cosine(Schedule):
    """Warm-up, then half a cosine down to ``final`` (Loshchilov and Hutter 2017, no restarts)."""

    def __init__(self, warmup: Amount = 0.05, final: Share = 0.1) -> None:
        super().__init__(warmup)
        self.final = final

    def factor(self, step: int, start: int, total: int) -> float:
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * _progress(step, start, total)))


class WarmupStableDecay(Schedule):
    """Warm-up, stable, decay: the base rate is held, and falls to ``final`` over the last ``decay`` steps (or share).

    ``sqrt`` falls as 1 - sqrt(progress), fast at first. Source: Hu et al. 2024 (MiniCPM), Hägele et al. 2024.
    """

    def __init__(
        self,
        warmup: Amount = 0.05,
        decay: Amount = 0.5,
        final: Share = 0.0,
        shape: Literal["linear", "sqrt"] = "linear",
    ) -> None:
        super().__init__(warmup)
        self.decay, self.final, self.shape = decay, final, shape

    def __call__(self, optimizer: Optimizer, total_steps: int) -> LambdaLR:
        if _steps(self.warmup, total_steps) + _steps(self.decay, total_steps) > total_steps:
            raise UserError(
                f"scheduler.warmup={self.warmup:g} and scheduler.decay={self.decay:g} are longer than the {total_steps} "
                "steps of the run. Try scheduler.decay=0.2"
            )
        return super().__call__(optimizer, total_steps)

    def factor(self, step: int, start: int, total: int) -> float:
        progress = _progress(step, total - _steps(self.decay, total), total)
        return _line(math.sqrt(progress) if self.shape == "sqrt" else progress, self.final)


class InverseSquareRoot(Schedule):
    """Warm-up, then 1 / sqrt(step), equal to the base rate at the end of the warm-up (Vaswani et al. 2017)."""

    def __init__(self, warmup: Amount = 0.1) -> None:
        super().__init__(warmup)

    def factor(self, step: int, start: int, total: int) -> float:
        return math.sqrt(max(start, 1) / max(step + 1, start, 1))


def _steps(amount: float, total_steps: int) -> int:
    return round(amount * total_steps) if amount < 1 else round(amount)


def _progress(step: int, start: int, end: int) -> float:
    """0 at ``start`` and before, 1 at ``end`` and after."""
    return min(max(step - start, 0) / max(end - start, 1), 1.0)


def _line(progress: float, final: float) -> float:
    return 1 - (1 - final) * progress
