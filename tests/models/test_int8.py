"""Linear maps in eight bits: how far they are off, and what is stored."""

from __future__ import annotations

import pytest
import torch
from seed import SEED
from torch import nn

from groundup.models.int8 import Int8Linear, numbers_of, quantize
from groundup.models.transformer import TransformerEncoder


@pytest.mark.parametrize("bias", [False, True])
def test_it_answers_as_the_map_that_it_was_made_of(bias):
    torch.manual_seed(SEED)
    linear = nn.Linear(64, 48, bias=bias)
    linear.weight.data[3] *= 100  # a row far larger than the others does not blur them
    x = torch.randn(2, 7, 64)
    small, exact = Int8Linear(linear), linear(x).detach()
    with torch.inference_mode():
        found = small(x)
    each = exact.flatten(0, 1).std(0)
    assert found.shape == exact.shape and ((found - exact).abs().flatten(0, 1).amax(0) < 0.1 * each).all()
    with_gradient = small(x.requires_grad_())
    with_gradient.sum().backward()
    torch.testing.assert_close(with_gradient.detach(), found, atol=0.1 * float(each.max()), rtol=0.1)
    assert x.grad is not None


def test_every_weight_is_off_by_half_a_step_at_most_and_what_is_stored_is_all_there_is():
    torch.manual_seed(SEED)
    linear = nn.Linear(64, 48)
    small = Int8Linear(linear)
    assert small.weight.dtype == torch.int8
    step = small.scale[:, None]
    assert ((small.weight * step - linear.weight).abs() <= 0.5001 * step).all()
    other = Int8Linear(nn.Linear(64, 48))
    x = torch.randn(5, 64)
    with torch.inference_mode():
        other(x)  # has laid out its own matrix by now
        other.load_state_dict(small.state_dict())
        assert torch.equal(other(x), small(x))


def test_a_model_has_the_same_numbers_in_a_quarter_of_the_bytes():
    model = TransformerEncoder(50, width=64, layers=2, heads=4)
    linear = {name for name, part in model.named_modules() if isinstance(part, nn.Linear)}
    numbers, before = numbers_of(model), bytes_of(model, linear)
    quantize(model)
    assert numbers_of(model) == numbers
    assert bytes_of(model, linear) <= 0.3 * before
    assert model.embedding.weight.dtype == torch.float32


def bytes_of(model: nn.Module, names: set[str]) -> int:
    return sum(tensor.nbytes for name, tensor in model.state_dict().items() if name.rpartition(".")[0] in names)
