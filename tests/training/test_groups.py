from __future__ import annotations

import pytest
import torch
from torch import nn

from groundup.errors import UserError
from groundup.models.backbone import Backbone
from groundup.models.heads import Head
from groundup.training.groups import parameter_groups, shrink, table


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.query_key_value = nn.Linear(4, 12)
        self.query_key_value.fused_splits = {"weight": [4, 4, 4]}
        self.norm = nn.LayerNorm(4)


class ToyHead(Head):
    def __init__(self, tied: nn.Parameter | None = None):
        super().__init__()
        self.output = nn.Linear(4, 9)
        if tied is not None:
            self.output.weight = tied


class Model(Backbone):
    def __init__(self, tied: bool = False):
        super().__init__()
        self.embedding = nn.Embedding(9, 4)
        self.blocks = nn.ModuleList([Layer(), Layer()])
        self.final_norm = nn.LayerNorm(4)
        self.recurrent = nn.LSTM(4, 5, bidirectional=True)
        self.head = ToyHead(self.embedding.weight if tied else None)


def names(groups: list[dict], kind: str) -> set[str]:
    return {name for group in groups if group["kind"] == kind for name in group["names"]}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_every_parameter_is_in_exactly_one_group(tied: bool, layer_decay: float) -> None:
    model = Model(tied)
    groups = parameter_groups(model, 0.1, 0.2, layer_decay)
    found = [id(p) for group in groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in model.parameters())
    for group in groups:
        assert len(group["names"]) == len(group["params"])
        assert all(model.get_parameter(n) is p for n, p in zip(group["names"], group["params"], strict=True))


def test_kinds_and_decay() -> None:
    groups = parameter_groups(Model(), 0.1, 0.2)
    assert names(groups, "embedding") == {"embedding.weight"}
    assert names(groups, "head") == {"head.output.weight"}
    assert {"blocks.0.query_key_value.weight", "recurrent.weight_hh_l0_reverse"} <= names(groups, "matrix")
    assert {"blocks.1.norm.weight", "head.output.bias", "recurrent.bias_hh_l0"} <= names(groups, "vector")
    assert {group["kind"]: group["weight_decay"] for group in groups} == {
        "matrix": 0.2,
        "head": 0.2,
        "embedding": 0.0,
        "vector": 0.0,
    }
    assert names(parameter_groups(Model(tied=True), 0.1), "head") == set()
    assert "matrix" in table(groups)


def test_fused_matrices_are_known() -> None:
    splits = {n: rows for group in parameter_groups(Model(), 0.1) for n, rows in group["splits"].items()}
    assert splits["blocks.1.query_key_value.weight"] == [4, 4, 4]
    assert splits["recurrent.weight_ih_l0"] == [5, 5, 5, 5]
    assert set(splits) == {f"blocks.{i}.query_key_value.weight" for i in (0, 1)} | {
        f"recurrent.weight_{kind}_l0{end}" for kind in ("ih", "hh") for end in ("", "_reverse")
    }


def test_layer_decay_falls_from_the_head_down() -> None:
    rates = {n: group["lr"] for group in parameter_groups(Model(), 1.0, layer_decay=0.5) for n in group["names"]}
    assert rates["head.output.weight"] == rates["final_norm.weight"] == 1.0
    assert rates["blocks.1.norm.weight"] == rates["blocks.1.query_key_value.weight"] == 0.5
    assert rates["blocks.0.norm.weight"] == 0.25
    assert rates["embedding.weight"] == 0.125


def test_frozen_parameters_are_left_out() -> None:
    model = Model().requires_grad_(False)
    with pytest.raises(UserError, match="frozen"):
        parameter_groups(model, 0.1)
    model.head.requires_grad_(True)
    assert {n for group in parameter_groups(model, 0.1) for n in group["names"]} == {
        "head.output.weight",
        "head.output.bias",
    }


def test_l1_moves_matrices_alone_towards_zero_and_no_further() -> None:
    model = Model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    shrink(parameter_groups(model, 0.1), 0.5)
    for name, value in model.state_dict().items():
        is_matrix = value.ndim == 2 and name != "embedding.weight"
        expected = nn.functional.softshrink(before[name], 0.1 * 0.5) if is_matrix else before[name]
        torch.testing.assert_close(value, expected, msg=name)
    assert (model.blocks[0].query_key_value.weight == 0).any()  # of uniform draws from -0.5 to 0.5, a tenth
