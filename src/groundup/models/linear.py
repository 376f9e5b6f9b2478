"""Several matrices in one product."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


class FusedLinear(nn.Linear):
    """Linear maps of one input to ``sizes`` outputs, as one matrix: one kernel instead of several.

    ``fused_splits`` tells an optimizer that works on matrices (Muon) where one ends and the next begins.
    Shapes: (..., D) -> (..., sum(sizes)).
    """

    def __init__(self, width: int, sizes: Sequence[int], bias: bool = False):
        super().__init__(width, sum(sizes), bias=bias)
        self.fused_splits = {"weight": list(sizes)}
