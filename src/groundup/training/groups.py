"""Which parameter gets which learning rate and weight decay: one rule for every model."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from groundup.errors import UserError
from groundup.models.backbone import Backbone
from groundup.models.heads import Head

KINDS = ("matrix", "embedding", "head", "vector")
DECAYED = ("matrix", "head")  # norms, biases and (tied) embeddings are never decayed
RECURRENT_GATES = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1}


def parameter_groups(module: nn.Module, lr: float, weight_decay: float = 0.0, layer_decay: float = 1.0) -> list[dict]:
    """Optimizer groups that hold every trainable parameter of ``module`` exactly once.

    The kind of a parameter: ``embedding`` (of an ``nn.Embedding``; a weight tied to one stays one), ``head`` (matrices
    inside a ``Head``), ``matrix`` (any other tensor with two or more dimensions), ``vector`` (norm weights, biases,
    scalars).

    Args:
        module: any module, a task included.
        lr: learning rate of the top of the model.
        weight_decay: for matrices and heads; 0 for the rest.
        layer_decay: learning rates fall by this factor per level of the model (``Backbone.levels``) from the head down
            to the embeddings (1 = all equal).

    Returns:
        dicts with ``params``, ``names``, ``kind``, ``lr``, ``lr_scale``, ``weight_decay``, ``splits``. ``splits`` maps
        a parameter's name to the row sizes of the matrices it fuses (query, key, value; the gates of an LSTM).

    Raises:
        UserError: no parameter is trainable. RuntimeError: a parameter is in no group or in two.
    """
    kinds, splits = kinds_of(module), _splits(module)
    levels, top = _levels(module)
    groups: dict[tuple, dict] = {}
    for name, parameter in module.named_parameters():  # a tied weight is named once
        if not parameter.requires_grad:
            continue
        kind = kinds[id(parameter)]
        scale = layer_decay ** (top - levels.get(id(parameter), top))
        group = groups.setdefault(
            (kind, scale),
            {
                "params": [],
                "names": [],
                "kind": kind,
                "lr": lr * scale,
                "lr_scale": scale,
                "weight_decay": weight_decay if kind in DECAYED else 0.0,
                "splits": {},
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
        if id(parameter) in splits:
            group["splits"][name] = splits[id(parameter)]
    ordered = sorted(groups.values(), key=lambda group: (KINDS.index(group["kind"]), group["lr_scale"]))
    _assert_complete(module, ordered)
    return ordered


def table(groups: list[dict]) -> str:
    """The groups as lines of text: kind, tensors, numbers, learning rate, weight decay."""
    lines = [f"{'group':<12}{'tensors':>8}{'parameters':>13}{'lr':>11}{'decay':>8}"]
    for group in groups:
        numbers = sum(parameter.numel() for parameter in group["params"])
        row = f"{group['kind']:<12}{len(group['params']):>8}{numbers:>13,}{group['lr']:>11.3g}"
        lines.append(row + f"{group['weight_decay']:>8.3g}")
    return "\n".join(lines)


def kinds_of(module: nn.Module) -> dict[int, str]:
    """id of a parameter -> kind. A weight with two owners takes the first of: embedding, head, matrix."""
    kinds: dict[int, str] = {}
    in_heads = {part for head in module.modules() if isinstance(head, Head) for part in head.modules()}
    for owner in module.modules():
        for parameter in owner.parameters(recurse=False):
            if parameter.ndim < 2:
                kind = "vector"
            elif isinstance(owner, nn.Embedding):
                kind = "embedding"
            else:
                kind = "head" if owner in in_heads else "matrix"
            known = kinds.get(id(parameter))
            if known is None or _tie_rank(kind) < _tie_rank(known):
                kinds[id(parameter)] = kind
    return kinds


def _tie_rank(kind: str) -> int:
    return ("embedding", "head", "matrix", "vector").index(kind)


def _splits(module: nn.Module) -> dict[int, list[int]]:
    """id of a parameter -> row sizes of the matrices fused in it, when there is more than one."""
    splits: dict[int, list[int]] = {}
    for owner in module.modules():
        rows = dict(getattr(owner, "fused_splits", {}))
        gates = next((n for cell, n in RECURRENT_GATES.items() if isinstance(owner, cell)), 1)
        for name, parameter in owner.named_parameters(recurse=False):
            if gates > 1 and name.startswith(("weight_ih", "weight_hh")):
                rows.setdefault(name, [parameter.shape[0] // gates] * gates)
            if name in rows and len(rows[name]) > 1:
                if sum(rows[name]) != parameter.shape[0]:
                    raise RuntimeError(
                        f"fused_splits of {name}: {rows[name]} does not sum to {parameter.shape[0]} rows"
                    )
                splits[id(parameter)] = list(rows[name])
    return splits


def _levels(module: nn.Module) -> tuple[dict[int, int], int]:
    """id of a parameter -> its level in the model, from 0 at the bottom; and the level of all else, at the top."""
    models = [child for child in module.modules() if isinstance(child, Backbone)]
    parts = models[0].levels() if models else []  # the first is the whole
    found: dict[int, int] = {}
    for level, modules in enumerate(parts):
        for part in modules:
            for parameter in part.parameters():
                found.setdefault(id(parameter), level)
    return found, len(parts)


def _assert_complete(module: nn.Module, groups: list[dict]) -> None:
    wanted = {id(parameter) for parameter in module.parameters() if parameter.requires_grad}
    if not wanted:
        raise UserError("every parameter is frozen, so there is nothing to train")
    found = [id(parameter) for group in groups for parameter in group["params"]]
    if len(found) != len(set(found)) or set(found) != wanted:
        raise RuntimeError("a trainable parameter is in no optimizer group, or in two")


@torch.no_grad()
def shrink(groups: list[dict[str, Any]], strength: float) -> None:
    """The step of an L1 penalty ``strength * sum |w|`` over matrices and heads: each weight moves towards zero by its
    learning rate x ``strength``, and stays there once it has arrived.

    To be called after the optimizer's step: in the gradient, the optimizer would rescale it (Adam) or mix it into the
    direction of the whole matrix (Muon). Norms, biases and embeddings are left alone, as by weight decay.

    Source: soft thresholding; Daubechies et al. 2004. Decoupled from the gradient as in Loshchilov and Hutter 2019.
    """
    for group in groups:
        if group.get("kind") not in ("matrix", "head"):
            continue
        weights = [parameter for parameter in group["params"] if parameter.grad is not None]
        if weights:
            sizes = torch._foreach_abs(weights)
            torch._foreach_sub_(sizes, float(group["lr"]) * strength)
            torch._foreach_clamp_min_(sizes, 0.0)
            torch._foreach_copy_(weights, torch._foreach_mul(torch._foreach_sign(weights), sizes))
