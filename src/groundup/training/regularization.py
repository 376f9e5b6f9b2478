"""Penalties on the weights that are no part of the loss."""

from __future__ import annotations

from typing import Any

import torch


@torch.no_grad()
def add_l1_gradient(groups: list[dict[str, Any]], strength: float) -> None:
    """Adds the gradient of ``strength * sum |w|`` over matrices and heads: pulls single weights to zero.

    Norms, biases and embeddings are left alone, as by weight decay. To be called before clipping.
    """
    for group in groups:
        if group.get("kind") not in ("matrix", "head"):
            continue
        weights = [parameter for parameter in group["params"] if parameter.grad is not None]
        if weights:
            torch._foreach_add_([w.grad for w in weights], torch._foreach_sign(weights), alpha=strength)
