"""Normalisation layers, chosen by one word."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Norm = Literal["rms", "layer"]


class _ScaleByRms(torch.autograd.Function):
    """``weight * x / rms(x)`` with its gradient by hand.

    PyTorch composes RMSNorm from many small CPU kernels (5x the time of its LayerNorm); in training this is twice as
    fast. Without a gradient there is nothing to gain.
    """

    @staticmethod
    def forward(ctx, x, weight, eps):
        inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        unit = x * inverse
        ctx.save_for_backward(unit, inverse, weight)
        return unit * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        unit, inverse, weight = ctx.saved_tensors
        for_weight = (gradient * unit).flatten(0, -2).sum(0)
        for_unit = gradient * weight
        # The part of the gradient along ``unit`` only changes the length, which the norm takes away again.
        along = torch.linalg.vecdot(for_unit, unit).unsqueeze(-1) / unit.shape[-1]
        return torch.addcmul(for_unit, unit, along, value=-1).mul_(inverse), for_weight, None


class RMSNorm(nn.Module):
    """Divides by the root mean square of the last dimension. Source: Zhang and Sennrich 2019.

    Shapes: x (..., D) -> (..., D).
    """

    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        if x.is_cpu and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return _ScaleByRms.apply(x, self.weight, self.eps)
        return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.eps)


def make_norm(kind: Norm, width: int) -> nn.Module:
    """The layer behind a word: ``rms`` or ``layer`` (Ba et al. 2016)."""
    if kind == "rms":
        return RMSNorm(width)
    if kind == "layer":
        return nn.LayerNorm(width)
    raise ValueError(f"norm {kind!r}: choose rms or layer")
