"""Stochastic weight averaging: the mean of the weights at the end of training."""

from __future__ import annotations

from typing import ClassVar

from groundup.ranges import Rate
from groundup.training.averaging import WeightAverage


class SWA(WeightAverage):
    """The mean of the weights after each of the last steps, all counted alike. Before, the weights are taken as they are.

    Args:
        start: share of the training after which the mean begins.

    Source: Izmailov et al. 2018, there once an epoch.
    """

    name: ClassVar[str] = "callbacks.swa"
    advice: ClassVar[str] = "~callbacks.swa"

    def __init__(self, start: Rate = 0.75):
        super().__init__()
        self.start = start

    def share(self, step: int, steps: int) -> float:
        counted = step - round(self.start * steps)
        return 1 / counted if counted > 0 else 0.0
