"""Losses that keep a classifier from learning its rows by heart."""

from __future__ import annotations

import torch
from torch import Tensor


def divergence(one: Tensor, other: Tensor) -> Tensor:
    """How far two readings of each row are apart: logits (B, C) twice -> (B,), the mean of both Kullback-Leibler divergences.

    Exactly 0 where they are the same. Source: R-Drop (Liang et al. 2021), where dropout makes the readings differ.
    """
    p, q = one.log_softmax(-1), other.log_softmax(-1)
    return ((p.exp() - q.exp()) * (p - q)).sum(-1) / 2


def squared_distance(one: Tensor, other: Tensor) -> Tensor:
    """How far two answers to each row are apart: probabilities (B, C) twice -> (B,), 2 at most.

    Source: Tarvainen and Valpola 2017, who found it better than the Kullback-Leibler divergence.
    """
    return ((one - other) ** 2).sum(-1)


def draw_mix(rows: int, alpha: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """For mixup: the share () of each row that stays, from Beta(alpha, alpha), and the row (B,) that the rest comes from.

    Source: Zhang et al. 2018; of sentence vectors Guo et al. 2019.
    """
    both = torch.tensor(alpha, dtype=torch.float32)  # of bfloat16, the default of bf16-true, there is no draw
    share = torch.distributions.Beta(both, both).sample().to(device)
    return share, torch.randperm(rows, device=device)
