"""Linear maps in eight bits: a quarter of their bytes, and on a CPU multiplied as whole numbers."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.errors import ArgumentError

LARGEST = 127  # of a weight in eight bits; -128 is left out, so that both signs have the same range


class Int8Linear(nn.Module):
    """``y = (scale * weight) x + bias`` with ``weight`` (D_out, D_in) int8 and a ``scale`` (D_out,) for each row.

    On a CPU what is read is rounded to eight bits, too, anew for each call, and the product is that of torch's kernels for
    whole numbers (``quantized::linear_dynamic``), which lay the matrix out once, at the first call. Elsewhere, and
    where a gradient passes or a graph is made, the matrix is made of real numbers again. It is used, not trained.
    Shapes: x (..., D_in) -> (..., D_out). Source: Jacob et al. 2018; a scale for each row: Krishnamoorthi 2018.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        matrix = linear.weight.detach().float()
        scale = matrix.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / LARGEST
        self.register_buffer("weight", (matrix / scale[:, None]).round().clamp(-LARGEST, LARGEST).to(torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach().float())
        self._packed: Any = None  # the matrix as the kernel wants it

    def forward(self, x: Tensor) -> Tensor:
        graph = torch.compiler.is_compiling() or (torch.is_grad_enabled() and x.requires_grad)
        if graph or not x.is_cpu:
            matrix = self.scale[:, None] * self.weight
            return F.linear(x, matrix.to(x.dtype), None if self.bias is None else self.bias.to(x.dtype))
        if self._packed is None:
            self._packed = self._laid_out()
        # Seven bits of what is read: with eight, processors without instructions for it (AVX2) overflow.
        return torch.ops.quantized.linear_dynamic(x.float(), self._packed, reduce_range=True).to(x.dtype)

    def _laid_out(self) -> Any:
        zeros = torch.zeros(len(self.weight), dtype=torch.int64)
        with warnings.catch_warnings():  # that this type of tensor will go; the kernels know no other yet
            warnings.simplefilter("ignore", UserWarning)
            matrix = torch._make_per_channel_quantized_tensor(self.weight, self.scale.double(), zeros, 0)
            return torch.ops.quantized.linear_prepack(matrix, None if self.bias is None else self.bias.float())

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._packed = None


def quantize(module: nn.Module) -> None:
    """Puts an ``Int8Linear`` in the place of every linear map of ``module``; embeddings and recurrent layers stay.

    Raises ArgumentError where there is none.
    """
    linear = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    if not linear:
        raise ArgumentError(
            "there is no linear map to quantize: recurrent layers, filters and embeddings stay as they are"
        )
    for name in linear:
        parent, _, last = name.rpartition(".")
        setattr(module.get_submodule(parent), last, Int8Linear(module.get_submodule(name)))  # type: ignore[arg-type]


def numbers_of(module: nn.Module) -> int:
    """How many numbers the module has learned, in whatever form they are stored; tied ones once."""
    small = [part for part in module.modules() if isinstance(part, Int8Linear)]
    own = sum(tensor.numel() for part in small for tensor in (part.weight, part.bias) if tensor is not None)
    return sum(parameter.numel() for parameter in module.parameters()) + own
