"""Low-rank adapters beside the linear maps of a model: nothing at the start, all that learns, and gone without a trace."""

import copy
from functools import partial

import pytest
import torch
from families import T, build, close, random_ids, read
from seed import SEED
from torch import nn

from groundup.errors import ArgumentError
from groundup.models.lora import AdaptedLinear, add_adapters, is_adapter, matches, merge, without_adapters
from groundup.training.groups import parameter_groups

ADAPTED = [
    "encoder: transformer_encoder",
    "encoder: transformer_encoder characters=cnn",
    "decoder: transformer_decoder everything",
    "pair: transformer_encoder to transformer_decoder",
]
adapted = pytest.mark.parametrize("name", ADAPTED)
SCALE = 3 / 2


def add(model, rank=2, alpha=3, dropout=0.0, where=("blocks",), train=()):
    torch.manual_seed(SEED)
    add_adapters(model, rank, alpha, dropout, where, train)
    return model


def trained(name):
    """A model whose adapters have learned something, in evaluation."""
    model = add(build(name)).eval()
    for parameter_name, parameter in model.named_parameters():
        if is_adapter(parameter_name):
            nn.init.normal_(parameter, std=0.3)
    return model


@adapted
@torch.no_grad()
def test_at_the_start_the_model_is_the_one_that_was_loaded(name):
    model, ids = build(name).eval(), random_ids(2, T)
    before, weights = read(model, ids), copy.deepcopy(model.state_dict())
    add(model)
    assert torch.equal(read(model, ids), before)
    after = model.state_dict()
    assert [name for name in after if not is_adapter(name)] == list(weights)
    assert all(torch.equal(after[name], value) for name, value in weights.items())
    assert len(after) > len(weights)


@adapted
def test_gradients_reach_the_adapters_and_what_is_to_train_and_nothing_else(name):
    model = add(build(name), dropout=0.1, train=["embedding"])
    for module in model.modules():  # as long as B is zero, no gradient goes on to A
        if isinstance(module, AdaptedLinear):
            nn.init.normal_(module.lora_b)
    read(model, random_ids(4, T)).square().sum().backward()
    reached = {
        name for name, parameter in model.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }
    wanted = {name for name, _ in model.named_parameters() if is_adapter(name) or "embedding" in name.split(".")}
    assert reached == wanted
    groups = parameter_groups(model, lr=1.0)
    assert {name for group in groups for name in group["names"]} == wanted


@adapted
@torch.no_grad()
def test_merged_it_computes_the_same_and_unmerged_it_is_what_it_was(name):
    model, ids = trained(name), random_ids(2, T)
    before, weights = read(model, ids), copy.deepcopy(model.state_dict())
    merge(model)
    merge(model)  # once is enough
    merged = read(model, ids)
    close(merged, before)
    assert any(not torch.equal(value, weights[name]) for name, value in model.named_parameters())
    for module in model.modules():
        if isinstance(module, AdaptedLinear):
            module.unmerge()
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
    assert torch.equal(read(model, ids), before)


@adapted
@torch.no_grad()
def test_what_is_saved_is_never_merged(name):
    model, ids = trained(name), random_ids(2, T)
    weights = copy.deepcopy(model.state_dict())
    merge(model)
    saved = model.state_dict()
    assert all(torch.equal(saved[name], value) for name, value in weights.items())
    model.load_state_dict({name: value * 0.5 for name, value in weights.items()})
    assert all(torch.equal(value, weights[name] * 0.5) for name, value in model.named_parameters())
    other = add(build(name)).eval()
    other.load_state_dict({name: value * 0.5 for name, value in weights.items()})
    assert torch.equal(read(model, ids), read(other, ids))


@adapted
@torch.no_grad()
def test_without_adapters_the_weights_are_those_of_a_plain_model(name):
    model, plain, ids = trained(name), build(name).eval(), random_ids(2, T)
    expected = read(model, ids)
    assert not torch.allclose(read(plain, ids), expected, atol=1e-2)
    plain.load_state_dict(without_adapters(model.state_dict(), SCALE))
    close(read(plain, ids), expected)


def test_a_map_is_the_sum_of_both():
    linear = nn.Linear(4, 3)
    model = add(nn.Sequential(linear), where=["0"])
    nn.init.normal_(model[0].lora_b)
    x = torch.randn(5, 4)
    low = model[0].lora_b @ model[0].lora_a
    assert torch.linalg.matrix_rank(low) == 2
    close(model(x), x @ (linear.weight + SCALE * low).T + linear.bias)


def test_dropout_is_on_what_the_adapter_reads_alone():
    model = add(nn.Sequential(nn.Linear(4, 3)), dropout=0.5, where=["0"])
    x = torch.randn(100, 4)
    assert torch.equal(model(x), model[0].eval()(x))  # nothing to drop from: B is zero
    nn.init.normal_(model[0].lora_b)
    assert torch.equal(model(x), model(x))
    assert not torch.equal(model.train()(x), model(x))


def test_muon_takes_the_fused_matrices_apart():
    model = add(build("encoder: transformer_encoder"), where=["qkv"])
    (group,) = parameter_groups(model, lr=1.0)
    assert group["splits"] == {f"blocks.{i}.attention.qkv.lora_b": [16, 16, 16] for i in range(2)}


def test_a_shared_map_stays_one():
    linear = nn.Linear(4, 4)
    model = add(nn.ModuleDict({"one": linear, "other": linear}), where=["one", "other"])
    assert model["one"] is model["other"] and isinstance(model["one"], AdaptedLinear)


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("blocks.0.attention.qkv", "blocks", True),
        ("blocks.0.attention.qkv", "attention.qkv", True),
        ("blocks.0.attention.qkv", "blocks.*.attention", True),
        ("blocks.0.attention.qkv", "*.qkv", True),
        ("blocks.0.attention.qkv", "0", True),
        ("blocks.0.attention.qkv", "blocks.*.qkv", False),
        ("blocks.0.attention.qkv", "lock", False),
        ("blocks.0.cross_attention.out", "attention", False),
        ("blocks.0.cross_attention.out", "*attention", True),
        ("blocks.10.attention.out", "blocks.1", False),
        ("blocks.0.attention.qkv", "block.", False),
    ],
)
def test_a_name_is_found_by_a_stretch_of_whole_parts(name, pattern, expected):
    assert matches(name, [pattern]) is expected
    assert matches(name, ["nowhere", pattern]) is expected
    assert not matches(name, [])


@pytest.mark.parametrize(
    ("name", "where", "line"),
    [
        ("encoder: bilstm_encoder", ["blocks"], r"RecurrentEncoder: its weights are of Embedding, LSTM\. Try rank=null"),
        ("encoder: cnn_encoder", ["blocks"], r"CNNEncoder: its weights are of Conv1d, Embedding\. Try rank=null"),
        ("decoder: transformer_decoder", ["q_proj", "v_proj"], r"where=\[q_proj,v_proj\]: .* Try where=\[blocks\.\*\.attention\.qkv,"
         r"blocks\.\*\.attention\.out,blocks\.\*\.feed_forward\.up,blocks\.\*\.feed_forward\.down\]"),
        ("pair: lstm_encoder_decoder attention=dot", ["blocks"], r"Try where=\[decoder\.start,decoder\.memory_attention\.combine\]"),
    ],
)  # fmt: skip
def test_where_nothing_can_be_adapted_the_line_says_what_can(name, where, line):
    with pytest.raises(ArgumentError, match=line):
        add(build(name), where=where)


def test_what_the_line_proposes_can_be_typed():
    model = build("decoder: transformer_decoder")
    with pytest.raises(ArgumentError) as error:
        add(model, where=["q_proj"])
    (advice,) = error.value.advice
    add(model, where=advice.removeprefix("where=").strip("[]").split(","))
    assert sum(isinstance(module, AdaptedLinear) for module in model.modules()) == 4 * len(model.blocks)


def test_free_maps_have_no_adapter():
    add_part = partial(add, train=["blocks.1", "final_norm"])
    model = add_part(build("encoder: transformer_encoder"))
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[1] for name in names if is_adapter(name)} == {"0"}
    assert {name for name in names if not is_adapter(name)} == {
        name for name, _ in model.named_parameters() if name.startswith(("blocks.1.", "final_norm."))
    }
