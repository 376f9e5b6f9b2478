"""Operations with two implementations: one that reads like the equation, and a fast one that gives the same.

A test compares the two. Everything else in ``models`` is written as it is run.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call
from torch.nn.functional import scaled_dot_product_attention

# Root mean square norm

EPS = 1e-6  # added to the mean square
_as_tensor = cache(torch.tensor)  # a number would be made into a tensor at every call


def plain_rms_norm(x: Tensor, weight: Tensor, eps: float = EPS) -> Tensor:
    """``weight * x / sqrt(mean(x^2) + eps)`` over the last dimension: x (..., D), weight (D,) -> (..., D)."""
    return weight * x * (x.square().mean(-1, keepdim=True) + eps).rsqrt()


def rms_norm(x: Tensor, weight: Tensor, eps: float = EPS) -> Tensor:
    """``plain_rms_norm``, on a CPU in half the kernels and with its gradient by hand: twice as fast in training."""
    if torch.jit.is_tracing():  # for an exported graph, whose format lacks the other kernels
        return plain_rms_norm(x, weight, eps)
    if not x.is_cpu or torch.compiler.is_compiling():
        return nn.functional.rms_norm(x, weight.shape, weight, eps)
    if torch.is_grad_enabled():
        return _ScaleByRms.apply(x, weight, eps)
    return _unit(x, eps)[0].mul_(weight)


def _unit(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """``x / rms(x)`` and ``1 / rms(x)``, in four kernels where PyTorch composes its RMSNorm from seven."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    inverse = torch.addcmul(_as_tensor(eps), norm, norm, value=1 / x.shape[-1]).rsqrt_()
    return x * inverse, inverse


class _ScaleByRms(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        unit, inverse = _unit(x, eps)
        ctx.save_for_backward(unit, inverse, weight)
        return unit * weight

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        unit, inverse, weight = ctx.saved_tensors
        for_weight = (gradient * unit).flatten(0, -2).sum(0)
        for_unit = gradient * weight
        # The part of the gradient along ``unit`` only changes the length, which the norm takes away again.
        along = torch.linalg.vecdot(for_unit, unit).unsqueeze(-1) / unit.shape[-1]
        return torch.addcmul(for_unit, unit, along, value=-1).mul_(inverse), for_weight, None


# Attention


class Mask(NamedTuple):
    """Which key each query sees; ``make_mask`` in ``models/attention.py`` makes it.

    ``attn_mask``: None, or it broadcasts to (B, H, Q, K); bool, True = sees, or float, added to the scores.
    ``is_causal``: each query sees itself and the keys before it, where no tensor says so.
    """

    attn_mask: Tensor | None
    is_causal: bool


def attention_weights(query: Tensor, key: Tensor, mask: Mask, scale: float) -> Tensor:
    """``softmax(scale * query key^T + mask)``: query (B, H, Q, d), key (B, G, K, d) -> (B, H, Q, K), rows sum to one.

    H is a multiple of G: neighbouring query heads share the head of a key.
    """
    key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
    return masked_softmax(query @ key.mT * scale, mask)


def masked_softmax(scores: Tensor, mask: Mask) -> Tensor:
    """Scores (..., Q, K) -> weights (..., Q, K) over the keys that each query sees."""
    allowed = mask.attn_mask
    if mask.is_causal:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf")) if allowed.dtype == torch.bool else scores + allowed
    return scores.softmax(-1)


def plain_attention(query: Tensor, key: Tensor, value: Tensor, mask: Mask, scale: float) -> Tensor:
    """Weighted means of the values: query (B, H, Q, d), key and value (B, G, K, d) -> (B, Q, H * d)."""
    weights = attention_weights(query, key, mask, scale)
    value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
    return (weights @ value).transpose(1, 2).flatten(2)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Mask, scale: float) -> Tensor:
    """``plain_attention`` in one kernel that never holds all weights. Source: Dao et al. 2022 (FlashAttention).

    Without dropout, which has no such kernel and would cost 3x the time.
    """
    attn_mask = mask.attn_mask
    if attn_mask is not None and attn_mask.is_floating_point():
        attn_mask = attn_mask.to(query.dtype)
    mixed = scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=attn_mask,
        is_causal=mask.is_causal,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return mixed.transpose(1, 2).flatten(2)


# Recurrence


class PlainLSTM(nn.Module):
    """A long short-term memory (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000). One step is::

        i = sigmoid(W_i x + U_i h + b_i)    input gate: how much of the new content is written
        f = sigmoid(W_f x + U_f h + b_f)    forget gate: how much of the old cell is kept
        g = tanh   (W_g x + U_g h + b_g)    new content
        o = sigmoid(W_o x + U_o h + b_o)    output gate: how much of the cell is shown
        c' = f * c + i * g                  the cell: a sum, so gradients pass through many steps
        h' = o * tanh(c')                   the hidden state

    ``weight_ih`` stacks W_i, W_f, W_g, W_o (4H, D); ``weight_hh`` the U (4H, H); the bias is split in two, as in
    ``torch.nn.LSTM``, whose weights can be copied over. Shapes: x (B, T, D) -> hidden states (B, T, H), from zeros.
    """

    def __init__(self, width_in: int, width: int):
        super().__init__()
        self.weight_ih = nn.Parameter(torch.randn(4 * width, width_in) * width_in**-0.5)
        self.weight_hh = nn.Parameter(torch.randn(4 * width, width) * width**-0.5)
        self.bias_ih = nn.Parameter(torch.zeros(4 * width))
        self.bias_hh = nn.Parameter(torch.zeros(4 * width))

    def step(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, D), h and c (B, H) -> h', c' (B, H)."""
        gates = x @ self.weight_ih.T + self.bias_ih + h @ self.weight_hh.T + self.bias_hh
        i, f, g, o = gates.chunk(4, dim=-1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.tanh(), c

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), self.weight_hh.shape[1])
        outputs = []
        for x_t in x.unbind(1):
            h, c = self.step(x_t, h, c)
            outputs.append(h)
        return torch.stack(outputs, 1)


def recurrence(rnn: nn.RNNBase, x: Any, state: Any = None, weight_hh: Tensor | None = None):
    """All steps of ``rnn`` in one kernel of torch: x (N, L, D), or packed, -> hidden states (N, L, H), or packed, and the last state.

    ``weight_hh``: instead of its hidden-to-hidden matrix.
    """
    if torch.is_autocast_enabled("cpu") and not recurs_in_bfloat16() and x[0].device.type == "cpu":
        x = x.float()
        if state is not None:
            state = state.float() if isinstance(state, Tensor) else tuple(part.float() for part in state)
        with torch.autocast("cpu", enabled=False):
            return recurrence(rnn, x, state, weight_hh)
    return rnn(x, state) if weight_hh is None else functional_call(rnn, {"weight_hh_l0": weight_hh}, (x, state))


@cache
def recurs_in_bfloat16() -> bool:
    """Whether this processor has an LSTM of bfloat16: oneDNN has none without AVX-512, and fails when it is asked."""
    return not torch.backends.mkldnn.is_available() or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
