"""Each operation that is run another way than it is written, against its equation: values and gradients."""

import pytest
import torch
from torch import nn

from groundup.models.attention import make_mask
from groundup.models.kernels import PlainLSTM, attention, plain_attention, plain_rms_norm, recurrence, rms_norm

B, T, S, D, H = 3, 7, 5, 6, 8


def agree(fast, plain, *inputs):
    """``fast(*inputs)`` equals ``plain(*inputs)``, in training and outside of it, and so do the gradients of ``inputs``."""
    results = []
    for function in (fast, plain):
        leaves = [value.detach().clone().requires_grad_() for value in inputs]
        y = function(*leaves)
        upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
        results.append([y, *torch.autograd.grad(y, leaves, upstream)])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(fast(*inputs), plain(*inputs), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [1.0, 1e-4])
def test_rms_norm(size):
    torch.manual_seed(0)
    x, weight = size * torch.randn(B, T, D), torch.randn(D)
    agree(rms_norm, plain_rms_norm, x, weight)
    torch.testing.assert_close(plain_rms_norm(x, weight), nn.functional.rms_norm(x, (D,), weight, eps=1e-6))
    assert rms_norm(torch.zeros(2, D), weight).isfinite().all()


MASKS = {
    "none": (T, T, False),
    "causal": (T, T, True),
    "padding": (T, T, False, torch.arange(T) < torch.tensor([T, 3, 0])[:, None]),
    "causal with padding": (T, T, True, torch.arange(T) >= torch.tensor([0, 2, 6])[:, None]),
    "one more token": (1, T, True),
    "alibi": (T, T, True, None, None, torch.tensor([0.5, 0.25, 0.1, 0.05])),
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_attention(name, kv_heads):
    torch.manual_seed(0)
    mask = make_mask(*MASKS[name])
    query = torch.randn(B, 4, MASKS[name][0], D)
    key, value = torch.randn(2, B, kv_heads, T, D)
    agree(lambda *x: attention(*x, mask, 0.3), lambda *x: plain_attention(*x, mask, 0.3), query, key, value)


def test_lstm():
    torch.manual_seed(0)
    plain, fast = PlainLSTM(D, H), nn.LSTM(D, H, batch_first=True)
    with torch.no_grad():
        for bias in (plain.bias_ih, plain.bias_hh):
            bias.normal_()
    fast.load_state_dict({f"{name}_l0": parameter for name, parameter in plain.state_dict().items()})
    x, zeros = torch.randn(B, T, D), torch.zeros_like(plain.weight_hh)
    agree(lambda x: recurrence(fast, x)[0], plain, x)
    plain.weight_hh.data.zero_()
    agree(lambda x: recurrence(fast, x, weight_hh=zeros)[0], plain, x)
