"""Exponential moving average of the weights."""

from __future__ import annotations

from typing import ClassVar

from groundup.ranges import Rate
from groundup.training.averaging import WeightAverage


class EMA(WeightAverage):
    """The average over the last steps, the older the less.

    After step t it moves by 1 - min(decay, (1 + t) / (10 + t)) towards the weights: the rate starts small so that the
    random initial weights are soon forgotten.

    Args:
        decay: share of the old average kept at each step; 0.999 averages over about the last 1000 steps.

    Source: Polyak and Juditsky 1992; warm-up as in TensorFlow's ExponentialMovingAverage.
    """

    name: ClassVar[str] = "callbacks.ema"
    advice: ClassVar[str] = "~callbacks.ema"

    def __init__(self, decay: Rate = 0.999):
        super().__init__()
        self.decay = decay

    def share(self, step: int, steps: int) -> float:
        return 1 - min(self.decay, (1 + step) / (10 + step))
