"""Where weights start: one rule a module type, and an error for a module without a rule."""

from __future__ import annotations

from torch import nn

from groundup.models.norm import RMSNorm
from groundup.models.position import AddedPosition, Rotary

RESIDUAL = ("attention.out", "feed_forward.down", "cross_attention.out")


def embedding_std(width: int) -> float:
    """Small enough that a tied head is close to uniform at the start, i.e. the first loss is close to ln(V).

    A hidden state of unit size that still is its own token's embedding gives that token a logit of width * std.
    """
    return min(0.02, 2.0 / width)


def initialize(model: nn.Module, residuals: int, zero: bool) -> None:
    """Sets every weight of a Transformer. Matrices keep the variance of their input (LeCun et al. 1998).

    The last matrix of each of the ``residuals`` branches starts at zero, or smaller by sqrt(residuals) so that the sum
    of all branches has unit variance (Radford et al. 2019).
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=embedding_std(module.embedding_dim))
        elif isinstance(module, nn.Linear):
            std = module.in_features**-0.5
            if name.endswith(RESIDUAL):
                std *= 0.0 if zero else residuals**-0.5
            nn.init.normal_(module.weight, std=std)
        elif isinstance(module, (RMSNorm, nn.LayerNorm)):
            nn.init.ones_(module.weight)
        elif isinstance(module, (AddedPosition, Rotary)) or not list(module.parameters(recurse=False)):
            continue  # made with their values, or without any
        else:
            raise TypeError(f"no rule how {name} ({type(module).__name__}) starts")
