"""The position-wise half of a Transformer block."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.linear import FusedLinear

Activation = Literal["gelu", "relu2", "swiglu"]


class FeedForward(nn.Module):
    """Two matrices with a non-linearity between them.

    ``gelu`` (Hendrycks and Gimpel 2016), ``relu2`` = relu squared (So et al. 2021), ``swiglu`` = silu(gate) * up
    (Shazeer 2020), whose default inner width is 8/3 of ``width`` instead of 4 so that all three cost the same.
    Shapes: x (..., D) -> (..., D).
    """

    def __init__(self, width: int, kind: Activation = "gelu", inner: int | None = None):
        super().__init__()
        if kind not in ("gelu", "relu2", "swiglu"):
            raise ValueError(f"feed_forward {kind!r}: choose gelu, relu2 or swiglu")
        self.kind = kind
        gated = kind == "swiglu"
        inner = inner or (-(-8 * width // 24) * 8 if gated else 4 * width)
        self.up = FusedLinear(width, (inner, inner) if gated else (inner,))
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        if self.kind == "gelu":
            return self.down(F.gelu(x))
        if self.kind == "relu2":
            return self.down(x.relu().square())
        gate, up = x.chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)
