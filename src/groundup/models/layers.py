"""The layers that blocks are made of, and how their weights are initialized."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.models.kernels import EPS, rms_norm
from groundup.models.position import Rotary, SinusoidalPosition

Norm = Literal["rms", "layer"]
Activation = Literal["gelu", "gelu_tanh", "relu2", "swiglu"]
Bias = Literal["none", "qkv", "all"]  # which linear maps of a block add a vector: none, queries, keys and values, all
RESIDUAL = ("attention.out", "feed_forward.down", "cross_attention.out")  # names of the last matrix of a branch


class FusedLinear(nn.Linear):
    """Linear maps of one input to ``sizes`` outputs, as one matrix: one kernel instead of several.

    ``fused_splits`` tells an optimizer that works on matrices (Muon) where one ends and the next begins.
    Shapes: (..., D) -> (..., sum(sizes)).
    """

    def __init__(self, width: int, sizes: Sequence[int], bias: bool = False):
        super().__init__(width, sum(sizes), bias=bias)
        self.fused_splits = {"weight": list(sizes)}


def plus(embedded: Tensor, features: Tensor | None) -> Tensor:
    """Embeddings (..., E) and what a task knows of each token beside them, (..., E); None: nothing."""
    return embedded if features is None else embedded + features


class RMSNorm(nn.Module):
    """Divides by the root mean square of the last dimension. Source: Zhang and Sennrich 2019.

    Shapes: x (..., D) -> (..., D).
    """

    def __init__(self, width: int, eps: float = EPS):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight
        return rms_norm(x if x.dtype == weight.dtype else x.to(weight.dtype), weight, self.eps)


def make_norm(kind: Norm, width: int, eps: float | None = None) -> nn.Module:
    """The norm of this name: ``rms``, or ``layer`` (Ba et al. 2016). ``eps``: None: 1e-6 for rms, 1e-5 for layer."""
    if kind == "rms":
        return RMSNorm(width, EPS if eps is None else eps)
    if kind == "layer":
        return nn.LayerNorm(width, 1e-5 if eps is None else eps)
    raise ValueError(f"norm {kind!r}: choose rms or layer")


class FeedForward(nn.Module):
    """Two matrices with a non-linearity between them; dropout on what comes out.

    ``gelu`` (Hendrycks and Gimpel 2016), ``gelu_tanh``, its approximation in GPT-2, ``relu2`` = relu squared
    (So et al. 2021), ``swiglu`` = silu(gate) * up
    (Shazeer 2020), whose default inner width is 8/3 of ``width`` instead of 4 so that all cost the same.
    Shapes: x (..., D) -> (..., D).
    """

    def __init__(
        self, width: int, kind: Activation, inner: int | None = None, dropout: float = 0.0, bias: bool = False
    ):
        super().__init__()
        if kind not in get_args(Activation):
            raise ValueError(f"feed_forward {kind!r}: choose {', '.join(get_args(Activation))}")
        self.kind = kind
        gated = kind == "swiglu"
        inner = inner or (-(-8 * width // 24) * 8 if gated else 4 * width)
        self.up = FusedLinear(width, (inner, inner) if gated else (inner,), bias)
        self.down = nn.Linear(inner, width, bias=bias)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        if self.kind == "gelu":
            x = F.gelu(x)
        elif self.kind == "gelu_tanh":
            x = F.gelu(x, approximate="tanh")
        elif self.kind == "relu2":
            x = x.relu().square()
        else:
            gate, up = x.chunk(2, dim=-1)
            x = F.silu(gate) * up
        return self.dropout(self.down(x))


class Dropout(nn.Dropout):
    """``nn.Dropout`` that costs no kernel where it does nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.p) if self.training else x


class WordDropout(nn.Module):
    """Replaces a share of the tokens by ``unk_id`` while training, each by itself: no single word decides, and what an
    unknown one means is learned. ``special_ids`` stay.

    Shapes: ids (B, T) -> (B, T). Source: Iyyer et al. 2015.
    """

    def __init__(self, rate: float, unk_id: int, special_ids: Sequence[int]):
        super().__init__()
        self.rate, self.unk_id, self.special_ids = rate, unk_id, tuple(special_ids)

    def forward(self, ids: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return ids
        dropped = torch.rand(ids.shape, device=ids.device) < self.rate
        for special in self.special_ids:
            dropped &= ids != special
        return ids.masked_fill(dropped, self.unk_id)


def embedding_std(width: int) -> float:
    """Small enough that a tied head is close to uniform at the start, i.e. the first loss is close to ln(V).

    A hidden state of unit size that still is its own token's embedding gives that token a logit of width * std.
    """
    return min(0.02, 2.0 / width)


def initialize(model: nn.Module, residuals: int, zero: bool) -> None:
    """Sets every weight of a Transformer: one rule a type of module. Matrices keep the variance of their input (LeCun
    et al. 1998).

    The last matrix of each of the ``residuals`` branches starts at zero, or smaller by sqrt(residuals) so that the sum
    of all branches has unit variance (Radford et al. 2019). Raises TypeError for a module without a rule.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=embedding_std(module.embedding_dim))
        elif isinstance(module, nn.Linear):
            std = module.in_features**-0.5
            if name.endswith(RESIDUAL):
                std *= 0.0 if zero else residuals**-0.5
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (RMSNorm, nn.LayerNorm)):
            nn.init.ones_(module.weight)
        elif isinstance(module, (Rotary, SinusoidalPosition)) or not list(module.parameters(recurse=False)):
            continue  # made with their values, or without any
        else:
            raise TypeError(f"no rule how {name} ({type(module).__name__}) starts")
