"""How many operations a token costs, forward and backward: ``plan`` predicts with it, and a training logs it."""

from __future__ import annotations

from torch import nn

from groundup.models.heads import LanguageModelHead
from groundup.training.groups import kinds_of

FORWARD, INPUTS, WEIGHTS = (
    2,
    2,
    2,
)  # for each number of a matrix: the product, its gradient for the inputs, for the weights


def flops_per_token(task: nn.Module) -> float:
    """6 for each number of a matrix that a token meets; 4 where it is frozen, as its own gradient is not computed.

    Embeddings are looked up, which costs nothing, unless the output layer is tied to them. The products of queries and keys
    are left out; they are length / (6 x width) of the rest. Source: Kaplan et al. 2020.
    """
    tied = any(isinstance(part, LanguageModelHead) and part.tied for part in task.modules())
    met = {"matrix", "head", *(["embedding"] if tied else [])}
    kinds = kinds_of(task)
    counted = [p for p in task.parameters() if kinds[id(p)] in met]
    return float(sum((FORWARD + INPUTS + WEIGHTS * p.requires_grad) * p.numel() for p in counted))
