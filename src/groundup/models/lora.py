"""Low-rank adaptation (LoRA): the weights of a trained model stay, and a small learned product is added to its matrices."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from groundup.errors import ArgumentError
from groundup.models.layers import Dropout

A, B = ".lora_a", ".lora_b"  # how the names of the two matrices end


class AdaptedLinear(nn.Linear):
    """A frozen linear map and a low-rank one that learns: ``W x + bias + (alpha / rank) B A dropout(x)``.

    It takes over the parameters of ``linear`` under their names. New are ``lora_a`` (rank, D_in), random, and ``lora_b``
    (D_out, rank), zeros: at the start it computes what ``linear`` did. A fused matrix has one pair.
    Shapes: x (..., D_in) -> (..., D_out). Source: Hu et al. 2022.
    """

    def __init__(self, linear: nn.Linear, rank: int, alpha: float, dropout: float):
        nn.Module.__init__(self)  # nn.Linear would make a matrix of its own
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.lora_a = nn.Parameter(self.weight.new_empty(rank, self.in_features).normal_(std=self.in_features**-0.5))
        self.lora_b = nn.Parameter(self.weight.new_zeros(self.out_features, rank))
        rows = getattr(linear, "fused_splits", {}).get("weight")
        self.fused_splits = {"lora_b": rows} if rows else {}
        self.scale = alpha / rank
        self.dropout = Dropout(dropout)
        self._unmerged: Tensor | None = None  # the matrix as it was before ``merge``

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        if self._unmerged is not None:
            return y
        return y.add(F.linear(F.linear(self.dropout(x), self.lora_a), self.lora_b), alpha=self.scale)

    @torch.no_grad()
    def merge(self) -> None:
        """Adds the low-rank map to the matrix, to be used without its cost. What is saved stays unmerged."""
        if self._unmerged is None:
            self._unmerged = self.weight.detach().clone()
            self.weight.add_(product(self.lora_a, self.lora_b, self.scale))

    @torch.no_grad()
    def unmerge(self) -> None:
        """Puts the matrix back, bit for bit: it was kept, as a difference would not give it."""
        if self._unmerged is not None:
            self.weight.copy_(self._unmerged)
            self._unmerged = None

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self._unmerged is not None:
            destination[f"{prefix}weight"] = self._unmerged

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.unmerge()
        super()._load_from_state_dict(*args, **kwargs)


def product(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """What a pair of matrices adds to the one that they stand beside: (rank, D_in), (D_out, rank) -> (D_out, D_in)."""
    return (b @ a).mul_(scale)


def add_adapters(
    model: nn.Module, rank: int, alpha: float, dropout: float, where: Sequence[str], train: Sequence[str]
) -> None:
    """Freezes ``model`` and puts an ``AdaptedLinear`` in the place of its linear maps.

    A name such as ``blocks.0.attention.qkv`` is found by any stretch of it: ``attention``, ``blocks.0``; ``*`` is any one
    part of it.

    Args:
        alpha: the low-rank maps count alpha / rank times.
        dropout: on what the low-rank maps read.
        where: names of the linear maps, or of modules that hold them.
        train: names of parts that stay free, and learn as a whole instead.

    Raises:
        ArgumentError: there is no linear map of these names.
    """
    model.requires_grad_(False)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if matches(name, train):
            parameter.requires_grad_(True)
    linear = {
        name: module for name, module in model.named_modules(remove_duplicate=False) if isinstance(module, nn.Linear)
    }
    frozen = {name: module for name, module in linear.items() if not module.weight.requires_grad}
    if not frozen:
        raise ArgumentError(
            f"rank={rank} stands beside linear maps that were trained, and there is none in this {type(model).__name__}: "
            f"its weights are of {', '.join(kinds(model))}",
            "rank=null",
        )
    chosen = {name: module for name, module in frozen.items() if matches(name, where)}
    if not chosen:
        raise ArgumentError(
            f"where=[{','.join(where)}]: this {type(model).__name__} has no trained linear map there",
            f"where=[{','.join(short(frozen))}]",
        )
    made = {module: AdaptedLinear(module, rank, alpha, dropout) for module in dict.fromkeys(chosen.values())}
    for name, module in chosen.items():
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, made[module])


def merge(model: nn.Module) -> None:
    """Merges all adapters of ``model``, which then costs what it did without them."""
    for module in model.modules():
        if isinstance(module, AdaptedLinear):
            module.merge()


def without_adapters(weights: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """The weights of a model as those of the same one without adapters, which are merged.

    ``scale``: alpha / rank.
    """
    plain = {name: value for name, value in weights.items() if not is_adapter(name)}
    for stem in (name.removesuffix(A) for name in weights if name.endswith(A)):
        plain[f"{stem}.weight"] = plain[f"{stem}.weight"] + product(weights[stem + A], weights[stem + B], scale)
    return plain


def is_adapter(name: str) -> bool:
    """Whether the parameter of this name is one of an adapter."""
    return name.endswith((A, B))


def summary(model: nn.Module) -> str:
    """What is adapted, and what has no adapter, in one line."""
    adapted = {name: module for name, module in model.named_modules() if isinstance(module, AdaptedLinear)}
    count = f"{len(adapted)} linear map{'s' * (len(adapted) > 1)}"
    return f"adapters beside {count}: {', '.join(short(adapted))}; frozen without one: {', '.join(kinds(model))}"


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns is a stretch of whole parts of the dotted name."""
    wanted = (re.escape(pattern).replace(r"\*", r"[^.]*") for pattern in patterns)
    return any(re.search(rf"(?:^|\.){one}(?:\.|$)", name) for one in wanted)


def short(names: Collection[str]) -> list[str]:
    """The names, those that differ in a number alone once: ``blocks.*.attention.qkv``."""
    return list(dict.fromkeys(re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", name) for name in names))


def kinds(model: nn.Module) -> list[str]:
    """Classes of the modules with frozen weights of their own, adapted ones left out."""
    return sorted(
        {
            type(module).__name__
            for module in model.modules()
            if not isinstance(module, AdaptedLinear)
            and any(not parameter.requires_grad for parameter in module.parameters(recurse=False))
        }
    )
