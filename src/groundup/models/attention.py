"""Attention: one function says who may look at whom, two modules look."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from groundup.errors import UserError
from groundup.models.linear import FusedLinear
from groundup.models.norm import RMSNorm
from groundup.models.position import rotate


class Visible(NamedTuple):
    """For ``scaled_dot_product_attention``: a mask (bool, True = may be looked at; or a float bias), or a flag."""

    mask: Tensor | None
    is_causal: bool


def visible(
    queries: int,
    keys: int,
    causal: bool,
    key_mask: Tensor | None = None,
    document_ids: Tensor | None = None,
    slopes: Tensor | None = None,
    device: torch.device | None = None,
) -> Visible:
    """The only place where masks and biases are made. The queries are the last ``queries`` of the ``keys`` slots.

    Shapes: key_mask (B, K) bool; document_ids (B, T) with Q = K = T; slopes (H,) of ALiBi -> mask that broadcasts to
    (B, H, Q, K). No query is left without a key (a softmax over nothing is NaN): a row of padding looks at itself.
    """
    causal = causal and queries > 1  # the last query sees every slot anyway
    if key_mask is None and document_ids is None and slopes is None and (not causal or queries == keys):
        return Visible(None, causal)  # the fast kernels need no mask

    mask = None
    if causal:
        mask = torch.ones(queries, keys, dtype=torch.bool, device=device).tril(keys - queries)
    if document_ids is not None:
        same = (document_ids.unsqueeze(-1) == document_ids.unsqueeze(-2)).unsqueeze(1)
        mask = same if mask is None else mask & same
    if key_mask is not None:
        empty = ~key_mask.any(-1, keepdim=True)
        real = (key_mask | empty)[:, None, None, :]
        if mask is None:
            mask = real
        else:  # a padded query in front of its row, or of another document, still sees its own slot
            own = torch.eye(queries, keys, dtype=torch.bool, device=device).roll(keys - queries, dims=-1)
            mask = (mask & real) | own
    if slopes is None:
        return Visible(mask, False)

    # Distance counts real tokens, so padding on either side, or in between, changes nothing.
    at = torch.arange(keys, device=device)[None] if key_mask is None else key_mask.long().cumsum(-1)
    distance = (at[:, keys - queries :, None] - at[:, None, :]).abs()
    bias = -slopes[:, None, None] * distance.unsqueeze(1)
    return Visible(bias if mask is None else bias.masked_fill(~mask, float("-inf")), False)


def check_heads(width: int, heads: int, kv_heads: int) -> int:
    """The features of one head; raises a UserError when the numbers do not divide."""
    if width % heads:
        raise UserError(f"width={width} cannot be split over heads={heads}. Try heads={max(1, width // 32)}")
    if heads % kv_heads:
        raise UserError(f"heads={heads} cannot share kv_heads={kv_heads}. Try kv_heads=1 or kv_heads={heads}")
    return width // heads


def attend(query: Tensor, key: Tensor, value: Tensor, seen: Visible, scale: float | None = None) -> Tensor:
    """Query (B, H, Q, d), key and value (B, G, K, d), H a multiple of G -> (B, Q, H * d). ``scale``: None = d^(-1/2).

    Without dropout, which has no flash kernel and would cost 3x the time.
    """
    if seen.mask is not None and seen.mask.is_floating_point():
        seen = seen._replace(mask=seen.mask.to(query.dtype))
    mixed = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=seen.mask,
        is_causal=seen.is_causal,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return mixed.transpose(1, 2).flatten(2)


def look(scores: Tensor, seen: Visible) -> Tensor:
    """Scores (..., Q, K) -> weights whose rows sum to one over the keys that may be looked at."""
    if seen.mask is not None:
        scores = scores.masked_fill(~seen.mask, float("-inf"))
    return scores.softmax(-1)


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself; ``kv_heads < heads`` shares keys and values (Ainslie et al. 2023).

    ``qk_norm`` normalises queries and keys head by head, which keeps the logits from growing (Henry et al. 2020).
    Shapes: x (B, T, D) -> (B, T, D). Source: Vaswani et al. 2017.
    """

    def __init__(self, width: int, heads: int, kv_heads: int | None = None, qk_norm: bool = False):
        super().__init__()
        kv_heads = kv_heads or heads
        self.head_dim = check_heads(width, heads, kv_heads)
        self.heads, self.kv_heads = heads, kv_heads
        sizes = (width, kv_heads * self.head_dim, kv_heads * self.head_dim)
        self.qkv = FusedLinear(width, sizes)
        self.out = nn.Linear(width, width, bias=False)
        # One gain for both: only the product of the two enters the logits.
        self.qk_norm = RMSNorm(self.head_dim) if qk_norm else None

    def forward(self, x: Tensor, seen: Visible, rotary=None, cache=None) -> Tensor:
        """``rotary``: (cos, sin) or None; ``cache``: a function (key, value) -> all keys and values so far, or None."""
        B, T, _ = x.shape
        heads = self.qkv(x).view(B, T, -1, self.head_dim)  # q heads, then k heads, then v heads
        # Queries and keys go through norm and rotation together: half the kernels.
        qk, v = heads.split_with_sizes((self.heads + self.kv_heads, self.kv_heads), 2)
        if self.qk_norm is not None:
            qk = self.qk_norm(qk)
        if rotary is not None:
            qk = rotate(qk, *rotary)
        q, k = qk.to(v.dtype).split_with_sizes((self.heads, self.kv_heads), 2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, T, d)
        if cache is not None:
            k, v = cache(k, v)
        return self.out(attend(q, k, v, seen))


class CrossAttention(nn.Module):
    """Attention of a decoder to the encoder's output, the memory. Keys and values are projected once a source.

    Shapes: memory (B, S, D) -> ``project`` -> twice (B, G, S, d); x (B, T, D) -> (B, T, D).
    """

    def __init__(self, width: int, heads: int, kv_heads: int | None = None):
        super().__init__()
        kv_heads = kv_heads or heads
        self.head_dim = check_heads(width, heads, kv_heads)
        self.query = nn.Linear(width, width, bias=False)
        self.kv = FusedLinear(width, (kv_heads * self.head_dim,) * 2)
        self.out = nn.Linear(width, width, bias=False)

    def project(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        key, value = self.kv(memory).unflatten(-1, (2, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
        return key, value

    def forward(self, x: Tensor, key: Tensor, value: Tensor, seen: Visible) -> Tensor:
        together = x.reshape(len(key), -1, x.shape[-1])  # rows that share a source ask it together (see ``Memory``)
        query = self.query(together).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        return self.out(attend(query, key, value, seen)).view_as(x)

    def weights(self, x: Tensor, key: Tensor, value: Tensor, seen: Visible) -> Tensor:
        """For pictures: where ``forward`` with these arguments looks, mean over heads (B, T, S). ``value`` is unused."""
        query = self.query(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        return look(query @ key.mT * self.head_dim**-0.5, seen).mean(1)
