"""How far an optimizer step moves the weights of each level of a model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from groundup.models.backbone import Backbone

TOP = "head"  # what no level of the model holds


class Updates:
    """Norm of the change by a step over the norm of the weights, level by level; about 1e-3 is usual for AdamW.

    Args:
        module: a task; its levels are those of its model (``Backbone.levels``), counted from the embeddings, then the head.
    """

    def __init__(self, module: nn.Module) -> None:
        self._levels = _parameters(module)
        self._before: dict[str, list[Tensor]] = {}

    def begin(self) -> None:
        """Keeps the weights as they are: once a row, which costs a copy of them."""
        self._before = {name: [p.detach().clone() for p in level] for name, level in self._levels.items()}

    def ratios(self) -> dict[str, float]:
        """Since ``begin``; empty without one."""
        found = {}
        for name, before in self._before.items():
            changes = [p.detach() - old for p, old in zip(self._levels[name], before, strict=True)]
            found[name] = _norm(changes) / _norm(before).clamp(min=1e-12)
        self._before = {}
        values = torch.stack(list(found.values())).tolist() if found else []  # one wait for the device
        return dict(zip(found, values, strict=True))


def _parameters(module: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Name of a level -> its trainable parameters."""
    models = [part for part in module.modules() if isinstance(part, Backbone)]
    levels: dict[str, list[nn.Parameter]] = {}
    told: set[int] = set()
    for number, parts in enumerate(models[0].levels() if models else []):  # the first is the whole
        own = [p for part in parts for p in part.parameters() if p.requires_grad and id(p) not in told]
        told |= {id(p) for p in own}
        levels[f"level_{number}"] = list({id(p): p for p in own}.values())
    levels[TOP] = [p for p in module.parameters() if p.requires_grad and id(p) not in told]
    return {name: level for name, level in levels.items() if level}


def _norm(tensors: list[Tensor]) -> Tensor:
    """Of all numbers together."""
    whole = [norm.full_tensor() if isinstance(norm, DTensor) else norm for norm in torch._foreach_norm(tensors)]
    return torch.stack([norm.float() for norm in whole]).norm()
