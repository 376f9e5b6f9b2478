"""Attention: one function says which key a query sees, three modules use it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from groundup.errors import ArgumentError
from groundup.models.kernels import Mask, attention, attention_weights, masked_softmax
from groundup.models.layers import Bias, Dropout, FusedLinear, RMSNorm
from groundup.models.position import rotate

Score = Literal["dot", "general", "additive"]


def make_mask(
    queries: int,
    keys: int,
    causal: bool,
    key_mask: Tensor | None = None,
    document_ids: Tensor | None = None,
    slopes: Tensor | None = None,
    device: torch.device | None = None,
) -> Mask:
    """The only place where masks and biases are made. The queries are the last ``queries`` of the ``keys`` slots.

    Shapes: key_mask (B, K) bool; document_ids (B, T) with Q = K = T; slopes (H,) of ALiBi -> a mask that broadcasts to
    (B, H, Q, K). No query is left without a key (a softmax over nothing is NaN): a row of padding sees itself.
    """
    causal = causal and queries > 1  # the last query sees every slot anyway
    if key_mask is None and document_ids is None and slopes is None and (not causal or queries == keys):
        return Mask(None, causal)  # the fast kernels need no mask

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
        return Mask(mask, False)

    # Distance counts real tokens, so padding on either side, or in between, changes nothing.
    at = torch.arange(keys, device=device)[None] if key_mask is None else key_mask.long().cumsum(-1)
    distance = (at[:, keys - queries :, None] - at[:, None, :]).abs()
    bias = -slopes[:, None, None] * distance.unsqueeze(1)
    return Mask(bias if mask is None else bias.masked_fill(~mask, float("-inf")), False)


def split_heads(width: int, heads: int, kv_heads: int = 1, head_width: int | None = None) -> int:
    """The features of one head; raises ArgumentError when the numbers do not divide."""
    if head_width is None and width % heads:
        fits = next(number for number in range(heads, 0, -1) if width % number == 0)
        raise ArgumentError(f"width={width} cannot be split over heads={heads}", f"heads={fits}")
    if heads % kv_heads:
        raise ArgumentError(f"heads={heads} cannot share kv_heads={kv_heads}", "kv_heads=1")
    return head_width or width // heads


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself; ``kv_heads < heads`` shares keys and values (Ainslie et al. 2023).

    ``qk_norm`` normalises queries and keys head by head, which keeps the logits from growing (Henry et al. 2020).
    ``dropout``: on what comes out; ``bias``: see ``layers.Bias``. ``head_width``: features of a head, d; None: as many as
    all heads together have D.
    Shapes: x (B, T, D) -> (B, T, D). Source: Vaswani et al. 2017.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int | None = None,
        qk_norm: bool = False,
        dropout: float = 0.0,
        head_width: int | None = None,
        bias: Bias = "none",
    ):
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads or heads
        self.head_dim = split_heads(width, heads, self.kv_heads, head_width)
        inner, shared = heads * self.head_dim, self.kv_heads * self.head_dim
        self.qkv = FusedLinear(width, (inner, shared, shared), bias != "none")
        self.out = nn.Linear(inner, width, bias=bias == "all")
        # One gain for both: only the product of the two enters the logits.
        self.qk_norm = RMSNorm(self.head_dim) if qk_norm else None
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Mask, rotary=None, cache=None) -> Tensor:
        """``rotary``: (cos, sin) or None; ``cache``: a function (key, value) -> all keys and values so far, or None."""
        B, T, _ = x.shape
        heads = self.qkv(x).view(B, T, -1, self.head_dim)  # (B, T, H + 2 G, d): heads of queries, keys, values
        # Queries and keys go through norm and rotation together: half the kernels.
        qk, v = heads.split_with_sizes((self.heads + self.kv_heads, self.kv_heads), 2)
        if self.qk_norm is not None:
            qk = self.qk_norm(qk)
        if rotary is not None:
            qk = rotate(qk, *rotary)
        q, k = qk.to(v.dtype).split_with_sizes((self.heads, self.kv_heads), 2)
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)  # (B, H, T, d), twice (B, G, T, d)
        if cache is not None:
            k, v = cache(k, v)  # (B, G, K, d)
        mixed = attention(q, k, v, mask, self.head_dim**-0.5)  # (B, T, H d)
        return self.dropout(self.out(mixed))


class CrossAttention(nn.Module):
    """Attention of a decoder to the encoder's output, the memory. Keys and values are projected once a source.

    Shapes: memory (B, S, D) -> ``project`` -> twice (B, G, S, d); x (B, T, D) -> (B, T, D).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int | None = None,
        dropout: float = 0.0,
        head_width: int | None = None,
    ):
        super().__init__()
        self.heads, self.kv_heads = heads, kv_heads or heads
        self.head_dim = split_heads(width, heads, self.kv_heads, head_width)
        self.query = nn.Linear(width, heads * self.head_dim, bias=False)
        self.kv = FusedLinear(width, (self.kv_heads * self.head_dim,) * 2)
        self.out = nn.Linear(heads * self.head_dim, width, bias=False)
        self.dropout = Dropout(dropout)

    def project(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        both = self.kv(memory).unflatten(-1, (2, -1, self.head_dim))  # (B, S, 2, G, d)
        key, value = both.permute(2, 0, 3, 1, 4)
        return key, value

    def forward(self, x: Tensor, key: Tensor, value: Tensor, mask: Mask) -> Tensor:
        # Rows that share a source ask it together (see ``Memory``): (N, T, D) -> (B, N / B x T, D).
        together = x.reshape(len(key), -1, x.shape[-1])
        mixed = attention(self.queries(together), key, value, mask, self.head_dim**-0.5)
        return self.dropout(self.out(mixed).view_as(x))

    def queries(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, d)."""
        return self.query(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def weights(self, x: Tensor, key: Tensor, value: Tensor, mask: Mask) -> Tensor:
        """For pictures: what ``forward`` with these arguments attends to, mean over heads (B, T, S)."""
        return attention_weights(self.queries(x), key, mask, self.head_dim**-0.5).mean(1)


class MemoryAttention(nn.Module):
    """How a recurrent decoder attends to the memory: with one head, on top of its layers.

    It gives the attentional vector ``tanh(W [context; hidden])``, where context = sum of weight x memory. Scores of a
    hidden vector h and a memory vector m: ``dot`` h . m, ``general`` h . W m (both Luong et al. 2015), ``additive``
    v . tanh(W h + U m) (Bahdanau et al. 2015).
    Shapes: memory (B, S, D) -> ``project`` -> keys and values (B, S, D); hidden (B, T, D) -> (B, T, D).
    """

    def __init__(self, width: int, score: Score):
        super().__init__()
        if score not in ("dot", "general", "additive"):
            raise ValueError(f"attention {score!r}: choose none, dot, general or additive")
        self.score = score
        self.key = nn.Identity() if score == "dot" else nn.Linear(width, width, bias=False)
        self.query = nn.Linear(width, width, bias=False) if score == "additive" else None
        self.energy = nn.Linear(width, 1, bias=False) if score == "additive" else None
        self.combine = nn.Linear(2 * width, width, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)

    def project(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Once a source: what queries are compared with, and what is taken from."""
        return self.key(memory), memory

    def forward(self, hidden: Tensor, key: Tensor, value: Tensor, mask: Mask) -> Tensor:
        # Rows that share a source ask it together (see ``Memory``): (N, T, D) -> (B, N / B x T, D).
        together = hidden.reshape(len(key), -1, hidden.shape[-1])
        if self.score == "additive":
            context = self.weights(together, key, value, mask) @ value
        else:  # one head
            context = attention(together.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1), mask, scale=1.0)
        return self.combine(torch.cat((context.view_as(hidden), hidden), dim=-1)).tanh()

    def weights(self, hidden: Tensor, key: Tensor, value: Tensor, mask: Mask) -> Tensor:
        """(B, T, S), rows sum to one; arguments as for ``forward``."""
        if self.query is None or self.energy is None:
            scores = hidden @ key.mT
        else:  # in place: the sum (B, T, S, D) is the largest tensor of all, and only its tanh is needed later
            scores = self.energy((self.query(hidden).unsqueeze(2) + key.unsqueeze(1)).tanh_()).squeeze(-1)
        return masked_softmax(scores.unsqueeze(1), mask).squeeze(1)
