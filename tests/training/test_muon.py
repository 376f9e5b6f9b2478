from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from groundup.models.transformer import TransformerDecoder
from groundup.training.groups import parameter_groups
from groundup.training.muon import MuonAdamW, orthogonalize


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(11, 8)
        self.fused = nn.Linear(8, 24, bias=False)
        self.fused.fused_splits = {"weight": [8, 8, 8]}
        self.up, self.down = nn.Linear(8, 32), nn.Linear(32, 8)
        self.recurrent = nn.LSTM(8, 8)

    def set_gradients(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)


def build(net: nn.Module, weight_decay: float = 0.1, **keywords) -> MuonAdamW:
    return MuonAdamW(parameter_groups(net, 1.0, weight_decay), **keywords)


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 16, 64), (2, 64, 16), (1, 16, 24)])
def test_singular_values_end_near_one(shape: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(shape, generator=generator)
    result = orthogonalize(matrices)
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    found = (u.mT @ result @ v.mT).diagonal(dim1=-2, dim2=-1)  # the singular vectors stay, the values change
    large = values > 0.02 * values.amax()
    assert found[large].min() > 0.6
    assert found.max() < 1.25
    assert result.shape == matrices.shape


def test_small_side_form_equals_the_plain_iteration() -> None:
    wide = torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(0))
    x = wide / wide.flatten(1).norm(dim=1)[:, None, None]
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    torch.testing.assert_close(orthogonalize(wide), x, atol=1e-5, rtol=1e-4)


def test_everything_but_matrices_moves_as_by_adamw() -> None:
    ours, theirs = Net(), Net()
    muon = build(ours, adamw_lr=0.01, eps=1e-8)
    groups = parameter_groups(theirs, 0.01, 0.1)
    adamw = torch.optim.AdamW(groups, betas=(0.9, 0.95), fused=True)
    for seed in range(4):
        ours.set_gradients(seed)
        theirs.set_gradients(seed)
        muon.step()
        adamw.step()
    for group in groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            same = torch.equal(ours.get_parameter(name), parameter)
            assert same == (group["kind"] != "matrix"), name


def test_first_step_is_the_orthogonal_direction_of_each_fused_part() -> None:
    net = Net()
    muon = build(net, weight_decay=0.0, lr=0.1)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    net.set_gradients(1)
    muon.step()
    for name, parts in {"fused.weight": 3, "recurrent.weight_hh_l0": 4, "down.weight": 1, "up.weight": 1}.items():
        parameter = net.get_parameter(name)
        rows, columns = parameter.shape[0] // parts, parameter.shape[1]
        steps = (before[name] - parameter).detach() / 0.1 / max(1, rows / columns) ** 0.5
        expected = torch.cat([orthogonalize(g[None])[0] for g in parameter.grad.chunk(parts)])
        torch.testing.assert_close(steps, expected, atol=1e-4, rtol=1e-3)


def test_weight_decay_is_decoupled() -> None:
    plain, decayed = Net(), Net()
    for net, decay in ((plain, 0.0), (decayed, 0.5)):
        net.set_gradients(0)
        build(net, weight_decay=decay, lr=0.1).step()
    start = Net().up.weight
    torch.testing.assert_close(decayed.up.weight, plain.up.weight - 0.1 * 0.5 * start)


def test_match_rms_steps_are_as_large_as_those_of_adamw() -> None:
    net = Net()
    start = net.up.weight.detach().clone()
    net.set_gradients(0)
    build(net, weight_decay=0.0, lr=0.1, scale="match_rms").step()
    assert (net.up.weight - start).square().mean().sqrt().item() == pytest.approx(0.02, rel=0.2)


def test_parameters_without_gradient_stay() -> None:
    net = Net()
    muon = build(net)
    net.set_gradients(0)
    for name in ("up.weight", "up.bias", "embedding.weight"):
        net.get_parameter(name).grad = None
    muon.step()
    fresh = Net()
    assert torch.equal(net.up.weight, fresh.up.weight)
    assert torch.equal(net.embedding.weight, fresh.embedding.weight)
    assert not torch.equal(net.down.weight, fresh.down.weight)


def test_state_survives_a_checkpoint_exactly() -> None:
    whole, part = Net(), Net()
    optimizers = build(whole), build(part)
    for seed in range(6):
        if seed == 3:
            file = io.BytesIO()
            torch.save([part.state_dict(), optimizers[1].state_dict()], file)
            file.seek(0)
            weights, state = torch.load(file, weights_only=True)
            part = Net()
            part.load_state_dict(weights)
            optimizers = optimizers[0], build(part)
            optimizers[1].load_state_dict(state)
        for net, optimizer in zip((whole, part), optimizers, strict=True):
            net.set_gradients(seed)
            optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), part.parameters(), strict=True))


def test_layer_decay_scales_both_learning_rates() -> None:
    net = TransformerDecoder(9, width=8, layers=2, heads=2)  # levels: embedding, two blocks, and what is above them
    muon = MuonAdamW(parameter_groups(net, 1.0, layer_decay=0.5), lr=0.4, adamw_lr=0.1)
    rates = {(group["kind"], group["lr_scale"]): group["lr"] for group in muon.param_groups}
    scales = {kind: {scale for one, scale in rates if one == kind} for kind in ("matrix", "vector", "embedding")}
    assert scales["matrix"] == {0.5, 0.25} and scales["vector"] >= {0.5, 0.25} and scales["embedding"] == {0.125}
    for (kind, scale), rate in rates.items():
        assert rate == pytest.approx((0.4 if kind == "matrix" else 0.1) * scale)
    with pytest.raises(RuntimeError, match="parameter_groups"):
        MuonAdamW(net.parameters())
