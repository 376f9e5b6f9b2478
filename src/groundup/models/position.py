"""How a model knows where a token stands: rotary, learned, sinusoidal, ALiBi, or not at all."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from groundup.errors import ArgumentError, UserError

Position = Literal["rope", "learned", "sinusoidal", "alibi", "none"]


def angles(length: int, width: int, base: float = 10_000.0) -> Tensor:
    """(length, width / 2) angles ``position * base ** (-2 i / width)``."""
    frequencies = base ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.outer(torch.arange(length, dtype=torch.float64), frequencies)


def _look_up(table: Tensor, position_ids: Tensor | None, start: int, length: int) -> Tensor:
    """(T, ...) rows ``start .. start + length``, or (B, T, ...) rows at ``position_ids``."""
    if position_ids is not None:
        # A row of no more tokens than the table has rows holds no greater number: only others are looked through.
        if start + length <= len(table) or (longest := int(position_ids.max()) + 1) <= len(table):
            return table[position_ids]
        raise UserError(f"a document of {longest} tokens, but max_length={len(table)}. Raise it, or cut")
    if start + length > len(table):
        raise UserError(f"a sequence of {start + length} tokens, but max_length={len(table)}. Raise it, or cut")
    return table[start : start + length]


class Rotary(nn.Module):
    """Rotates pairs of query and key features by an angle that grows with the position. Source: Su et al. 2021.

    ``tables`` gives (cos, sin) of shape (T, 1, head_dim) or (B, T, 1, head_dim), made once and used by every layer.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, head_dim: int, max_length: int, base: float = 10_000.0):
        super().__init__()
        if head_dim % 2:
            raise ArgumentError(
                f"position=rope turns features in pairs, but a head has {head_dim}. Make width / heads even"
            )
        angle = angles(max_length, head_dim, base)
        cos, sin = torch.cat((angle.cos(), angle.cos()), -1), torch.cat((-angle.sin(), angle.sin()), -1)
        self.register_buffer("cos", cos.float().unsqueeze(-2), persistent=False)
        self.register_buffer("sin", sin.float().unsqueeze(-2), persistent=False)

    def tables(self, position_ids: Tensor | None, start: int, length: int) -> tuple[Tensor, Tensor]:
        cos, sin = (_look_up(table, position_ids, start, length) for table in (self.cos, self.sin))
        return cos, sin


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(B, T, H, head_dim), first half of the features paired with the second half; ``sin`` carries the signs."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


class LearnedPosition(nn.Embedding):
    """A vector for each position, learned and added to the token embeddings. Shapes: x (B, T, D) -> (B, T, D)."""

    def forward(self, x: Tensor, position_ids: Tensor | None, start: int) -> Tensor:
        return x + _look_up(self.weight, position_ids, start, x.shape[1])


class Segments(nn.Embedding):
    """A vector for tokens of the first text of a pair, and one for those of the second. Source: Devlin et al. 2019.

    A pair is a row with the token ``separator`` twice, behind each of its texts; other rows are first texts.
    Shapes: ids (B, T) -> (B, T, D).
    """

    def __init__(self, separator: int, width: int):
        super().__init__(2, width)
        self.separator = separator

    def forward(self, input_ids: Tensor) -> Tensor:
        ends = input_ids == self.separator
        before = ends.cumsum(-1) - ends.long()  # separators in front of each token
        return super().forward(((ends.sum(-1, keepdim=True) == 2) & (before == 1)).long())


class SinusoidalPosition(nn.Module):
    """A vector of sines and cosines for each position, added to the token embeddings. Source: Vaswani et al. 2017.

    They are scaled to ``std``, the size of the token embeddings, or they would drown them.
    Shapes: x (B, T, D) -> (B, T, D).
    """

    table: Tensor

    def __init__(self, max_length: int, width: int, std: float):
        super().__init__()
        angle = angles(max_length, width + width % 2)
        table = torch.cat((angle.sin(), angle.cos()), -1)[:, :width].float() * (2**0.5 * std)
        self.register_buffer("table", table, persistent=False)

    def forward(self, x: Tensor, position_ids: Tensor | None, start: int) -> Tensor:
        return x + _look_up(self.table, position_ids, start, x.shape[1])


def alibi_slopes(heads: int) -> Tensor:
    """(H,) how fast each head forgets with distance: a geometric series from 2^(-8/H). Source: Press et al. 2022.

    For a number of heads that is no power of two: the series of the power below, then every other one of the next.
    """
    below = 2 ** (heads.bit_length() - 1)
    slopes = [2 ** (-8 * (i + 1) / below) for i in range(below)]
    slopes += [2 ** (-8 * (i + 1) / (2 * below)) for i in range(0, 2 * (heads - below), 2)]
    return torch.tensor(slopes)
