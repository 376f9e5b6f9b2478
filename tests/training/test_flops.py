"""Operations a token costs, against PyTorch's own counter; and peaks of GPUs by their names."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from groundup.system.peaks import PEAKS, peak_flops
from groundup.training.flops import flops_per_token


@pytest.mark.parametrize("frozen", [False, True])
def test_matrices_cost_what_torch_counts(frozen):
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    model[2].weight.requires_grad_(not frozen)
    x = torch.randn(5, 8, requires_grad=True)  # as a hidden layer's: its gradient is computed
    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    assert flops_per_token(model) * 5 == counter.get_total_flops()


def test_a_name_is_known_whole_or_not_at_all():
    assert peak_flops("NVIDIA A100-SXM4-80GB", "bf16-mixed") == 312e12
    assert peak_flops("NVIDIA A100 80GB PCIe", "32-true") == 19.5e12
    assert peak_flops("NVIDIA H100 80GB HBM3", "32-true", tf32=True) > peak_flops("NVIDIA H100 80GB HBM3", "32-true")
    for other in ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA L40", "Radeon"):
        assert peak_flops(other, "bf16-mixed") is None
    assert peak_flops("Tesla T4", "bf16-mixed") is None  # it has none
    assert peak_flops("NVIDIA A100-SXM4-80GB", "64-true") is None


def test_narrower_numbers_are_never_slower():
    for peaks in PEAKS.values():
        assert peaks["fp32"] <= peaks.get("tf32", peaks["fp32"]) <= peaks["fp16"] == peaks.get("bf16", peaks["fp16"])
