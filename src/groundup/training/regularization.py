"""Penalties on the weights that are no part of the loss."""

from __future__ import annotations

from typing import Any

import torch


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
