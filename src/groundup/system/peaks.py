"""What known GPUs can do at most, from their makers' data sheets: what "model FLOPs utilisation" is a share of."""

from __future__ import annotations

import re
from typing import Literal

Kind = Literal["fp32", "tf32", "fp16", "bf16"]

# Name as PyTorch tells it (all of it, so that a slice of a GPU is none) -> TFLOP/s of dense products.
# NVIDIA's data sheets and architecture papers: V100 (2020), T4 (2019), A100 (2021), A10 (2021), GA102 paper (RTX 3090, 2021), Ada paper
# (RTX 4090, 2022), L4, L40S (2023), H100 (2023), H200 (2024). Figures "with sparsity" are halved. On GeForce those with sums in fp32.
PEAKS: dict[str, dict[Kind, float]] = {
    r"Tesla V100-SXM2-(16|32)GB(-LS)?": {"fp32": 15.7, "fp16": 125.0},
    r"Tesla V100-PCIE-(16|32)GB": {"fp32": 14.0, "fp16": 112.0},
    r"Tesla T4": {"fp32": 8.1, "fp16": 65.0},
    r"NVIDIA A100-(SXM4|PCIE|PG509)-?\w*GB|NVIDIA A100 80GB PCIe": {"fp32": 19.5, "tf32": 156.0, "fp16": 312.0, "bf16": 312.0},
    r"NVIDIA A10": {"fp32": 31.2, "tf32": 62.5, "fp16": 125.0, "bf16": 125.0},
    r"NVIDIA GeForce RTX 3090": {"fp32": 35.6, "tf32": 35.6, "fp16": 71.2, "bf16": 71.2},
    r"NVIDIA GeForce RTX 4090": {"fp32": 82.6, "tf32": 82.6, "fp16": 165.2, "bf16": 165.2},
    r"NVIDIA L4": {"fp32": 30.3, "tf32": 60.0, "fp16": 121.0, "bf16": 121.0},
    r"NVIDIA L40S": {"fp32": 91.6, "tf32": 183.0, "fp16": 362.0, "bf16": 362.0},
    r"NVIDIA H100 PCIe": {"fp32": 51.0, "tf32": 378.0, "fp16": 756.0, "bf16": 756.0},
    r"NVIDIA H100 NVL": {"fp32": 60.0, "tf32": 417.5, "fp16": 835.5, "bf16": 835.5},
    r"NVIDIA (H100 80GB HBM3|H200)": {"fp32": 67.0, "tf32": 494.5, "fp16": 989.5, "bf16": 989.5},
}  # fmt: skip
KINDS: dict[str, Kind] = {"16": "fp16", "bf16": "bf16", "32": "fp32"}


def peak_flops(name: str, precision: str, tf32: bool = False) -> float | None:
    """FLOP/s of one GPU; None for one that is not in the table, or that has no such numbers.

    Args:
        name: as ``torch.cuda.get_device_name`` says.
        precision: Lightning's: ``32-true``, ``bf16-mixed``, ...
        tf32: whether products of 32-bit numbers may be made from TF32 ones.
    """
    kind = KINDS.get(precision.partition("-")[0])
    kind = "tf32" if kind == "fp32" and tf32 else kind
    known = next((peaks for pattern, peaks in PEAKS.items() if re.fullmatch(pattern, name)), {})
    peak = known.get(kind) if kind else None
    return None if peak is None else peak * 1e12
