"""How far a step moves each level, against the same by hand."""

from __future__ import annotations

import pytest
import torch

from groundup.models.transformer import TransformerEncoder
from groundup.training.updates import Updates


def test_ratios_are_those_of_each_level_and_of_the_head():
    torch.manual_seed(0)
    model = TransformerEncoder(vocab_size=11, width=8, layers=2, heads=2)
    task = torch.nn.ModuleDict({"model": model, "head": torch.nn.Linear(8, 3)})
    updates = Updates(task)
    updates.begin()
    before = {name: p.detach().clone() for name, p in task.named_parameters()}
    factors = {"model.embedding": 1.5, "model.blocks.0": 0.9, "model.blocks.1": 1.01, "head": 1.25}
    with torch.no_grad():
        for name, parameter in task.named_parameters():
            for prefix, factor in factors.items():
                if name.startswith(prefix):
                    parameter.mul_(factor)
    found = updates.ratios()
    for level, prefix in [("level_0", "model.embedding"), ("level_1", "model.blocks.0"), ("level_2", "model.blocks.1")]:
        assert found[level] == pytest.approx(abs(factors[prefix] - 1), rel=1e-4)
    tops = [name for name in before if not name.startswith(("model.embedding", "model.blocks"))]
    old = torch.cat([before[name].flatten() for name in tops])
    new = torch.cat([dict(task.named_parameters())[name].detach().flatten() for name in tops])
    assert found["head"] == pytest.approx(float((new - old).norm() / old.norm()), rel=1e-4)


def test_what_is_frozen_or_did_not_begin_is_left_out():
    model = TransformerEncoder(vocab_size=11, width=8, layers=1, heads=2)
    for part in model.levels()[0]:
        part.requires_grad_(False)
    updates = Updates(model)
    assert updates.ratios() == {}
    updates.begin()
    assert "level_0" not in updates.ratios()
    assert updates.ratios() == {}
