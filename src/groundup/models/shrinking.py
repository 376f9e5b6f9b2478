"""Structured pruning of a Transformer: whole heads and feed-forward units are removed, so its matrices become smaller.

Each layer loses the same share, so that what is left is a Transformer like any other, of fewer heads and narrower feed-forwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from groundup.models.attention import CrossAttention, SelfAttention
from groundup.models.layers import FeedForward

Attention = SelfAttention | CrossAttention
Scores = dict[str, Tensor]  # name of an attention -> (groups,), of a feed-forward -> (units,)


@dataclass(frozen=True)
class Shape:
    """What is left in each layer: the arguments of a ``Transformer`` of these names."""

    heads: int
    kv_heads: int
    head_width: int
    feed_forward_width: int


def importance(model: nn.Module, loss: Callable[[], Tensor], batches: int) -> Scores:
    """How much the loss would change without each group of heads, and each feed-forward unit, to the first order.

    That is |sum over a text of activation x gradient|, summed over texts. Heads that share keys and values are a group.
    The model should be in evaluation mode.

    Args:
        loss: () of the next batch, a sum over its texts; it is called ``batches`` times.

    Source: Molchanov et al. 2017 (units), Michel et al. 2019 (heads).
    """
    scores: Scores = {}
    for _ in range(batches):
        with _watched(model) as seen:
            gradients = torch.autograd.grad(loss(), [x for _, _, x in seen])
        for (name, module, x), gradient in zip(seen, gradients, strict=True):
            each = (x.detach() * gradient).sum(1)  # (B, features): over the positions of a text
            if isinstance(module, Attention):
                each = each.unflatten(-1, (module.kv_heads, -1)).sum(-1)  # (B, groups)
            scores[name] = scores.get(name, 0) + each.abs().sum(0)
    return scores


def shrink(model: nn.Module, scores: Scores, amount: float) -> tuple[dict[str, Tensor], dict[str, Shape]]:
    """Weights of the model without the least important ``amount`` of each layer's heads and units; at least one stays.

    Returns the weights by name, and the shape of each Transformer in the model by the name of its ``blocks``.
    """
    weights = dict(model.state_dict())
    shapes: dict[str, Shape] = {}
    modules = dict(model.named_modules())
    for name, module in modules.items():
        if name not in scores:
            continue
        kept = _best(scores[name], amount)
        if isinstance(module, Attention):
            ratio = module.heads // module.kv_heads
            heads = _spread(kept, ratio)
            rows = _spread(heads, module.head_dim)
            keys, width = _spread(kept, module.head_dim), module.kv_heads * module.head_dim
            if isinstance(module, SelfAttention):
                start = module.heads * module.head_dim
                _rows(weights, f"{name}.qkv", torch.cat((rows, start + keys, start + width + keys)))
            else:
                _rows(weights, f"{name}.query", rows)
                _rows(weights, f"{name}.kv", torch.cat((keys, width + keys)))
            _columns(weights, f"{name}.out", rows)
        else:
            inner = len(scores[name])
            gated = modules[f"{name}.up"].out_features > inner
            _rows(weights, f"{name}.up", torch.cat((kept, inner + kept)) if gated else kept)
            _columns(weights, f"{name}.down", kept)
    for name in modules:
        if name.endswith("blocks") and f"{name}.0.attention" in scores:
            attention = modules[f"{name}.0.attention"]
            groups = len(_best(scores[f"{name}.0.attention"], amount))
            units = len(_best(scores[f"{name}.0.feed_forward"], amount))
            ratio = attention.heads // attention.kv_heads
            shapes[name] = Shape(groups * ratio, groups, attention.head_dim, units)
    return weights, shapes


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[tuple[str, nn.Module, Tensor]]]:
    """Inside: what the last map of each attention and feed-forward reads, (B, T, features), as it is computed."""
    seen: list[tuple[str, nn.Module, Tensor]] = []
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, Attention | FeedForward):
            last = module.down if isinstance(module, FeedForward) else module.out

            def keep(_: nn.Module, inputs: tuple[Tensor], name: str = name, module: nn.Module = module) -> None:
                seen.append((name, module, inputs[0]))

            hooks.append(last.register_forward_pre_hook(keep))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _best(scores: Tensor, amount: float) -> Tensor:
    """Numbers of those that stay, rising."""
    stay = max(1, round(len(scores) * (1 - amount)))
    return scores.argsort(descending=True, stable=True)[:stay].sort().values


def _spread(numbers: Tensor, width: int) -> Tensor:
    """Places of all features of the heads of these ``numbers``."""
    return (numbers[:, None] * width + torch.arange(width)).flatten()


def _rows(weights: dict[str, Tensor], name: str, kept: Tensor) -> None:
    for key in (f"{name}.weight", f"{name}.bias"):
        if key in weights:
            weights[key] = weights[key][kept].clone()


def _columns(weights: dict[str, Tensor], name: str, kept: Tensor) -> None:
    weights[f"{name}.weight"] = weights[f"{name}.weight"][:, kept].clone()


def zero_smallest(model: nn.Module, amount: float) -> float:
    """Unstructured pruning, in place: of each matrix but embeddings, the ``amount`` of smallest weights becomes zero.

    Returns the share of zeros in all of them. Source: Han et al. 2015.
    """
    matrices = matrices_of(model)
    with torch.no_grad():
        for matrix in matrices:
            count = round(matrix.numel() * amount)
            if count:
                matrix.masked_fill_(matrix.abs() <= matrix.abs().flatten().kthvalue(count).values, 0.0)
    return share_of_zeros(matrices)


def matrices_of(model: nn.Module) -> list[Tensor]:
    """All parameters with rows and columns but embeddings; a matrix that is tied to an embedding is one."""
    tables = {id(part.weight) for part in model.modules() if isinstance(part, nn.Embedding)}
    return [parameter for parameter in model.parameters() if parameter.ndim > 1 and id(parameter) not in tables]


def share_of_zeros(matrices: Iterable[Tensor]) -> float:
    """Of all numbers in them together."""
    found = list(matrices)
    return sum(int((matrix == 0).sum()) for matrix in found) / max(1, sum(matrix.numel() for matrix in found))
