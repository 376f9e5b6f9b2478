"""Whether this machine has what ``accelerator``, ``devices`` and ``precision`` ask for.

Checked before a run has a folder. Torch is imported to look for a GPU, and for nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groundup.errors import UserError

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true")
SHORT = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed", "64": "64-true"}  # Lightning takes these too
OTHERS = ("transformer-engine", "transformer-engine-float16")  # with a package that is not ours
OTHER_NAMES = {
    "fp32": "32-true", "float32": "32-true", "float": "32-true", "full": "32-true", "tf32": "32-true",
    "bfloat16": "bf16-mixed", "bf16-amp": "bf16-mixed",
    "fp16": "16-mixed", "float16": "16-mixed", "half": "16-mixed", "amp": "16-mixed", "mixed": "16-mixed",
    "fp64": "64-true", "float64": "64-true", "double": "64-true",
}  # fmt: skip
GPUS = ("gpu", "cuda", "mps")
SHARE = "GROUNDUP_CORES"  # environment: how many cores are this process's, where others work beside it


def cores() -> int:
    """CPU cores that this process may use; as a job of a pool, its share of them."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get(SHARE, "")
    return min(here, int(share)) if share.isdigit() and int(share) > 0 else here


def memory_limit(accelerator: str = "cpu") -> int | None:
    """Bytes that a process may have on the CPU (of the machine, or of its container), or on the first GPU; None: unknown."""
    if accelerator_here(accelerator) == "cuda":
        import torch

        return torch.cuda.get_device_properties(0).total_memory
    limits = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    container = Path("/sys/fs/cgroup/memory.max")
    if container.is_file() and (said := container.read_text().strip()).isdigit():
        limits.append(int(said))
    return min(limits, default=None)


def gpus() -> dict[str, int]:
    """How many GPUs of each kind PyTorch finds: ``{"cuda": 2}``, ``{"mps": 1}``, or nothing."""
    import torch

    found = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    return {kind: count for kind, count in found.items() if count}


def accelerator_here(accelerator: str) -> str | None:
    """``cpu``, ``cuda`` or ``mps`` for Lightning's name of it; None where this machine has none of that name.

    ``auto`` is a GPU if there is one. Names that are none of ours (``tpu``) stand for themselves.
    """
    if accelerator not in (*GPUS, "auto"):
        return accelerator
    found = gpus()
    if accelerator in ("gpu", "auto"):
        return next(iter(found), "cpu" if accelerator == "auto" else None)
    return accelerator if accelerator in found else None


def check_hardware(config: Mapping[str, Any]) -> None:
    """Check the ``trainer`` of a plain configuration, or the ``accelerator`` and ``precision`` of one without.

    Raises:
        UserError: what is not here, what there is, and what to type.
    """
    trainer = config.get("trainer")
    node, prefix = (trainer, "trainer.") if isinstance(trainer, Mapping) else (config, "")
    accelerator = node.get("accelerator")
    check_precision(node.get("precision"), f"{prefix}precision", on_cpu=accelerator == "cpu")
    if not isinstance(accelerator, str):
        return
    here = accelerator_here(accelerator)
    if here is None:
        on_cpu = "trainer=cpu" if prefix else "accelerator=cpu"
        kind = {"gpu": "GPU", "cuda": "NVIDIA or AMD GPU", "mps": "GPU of Apple"}[accelerator]
        there = ", ".join([f"cpu with {cores()} cores", *gpus()])
        raise UserError(f"{prefix}accelerator={accelerator}: PyTorch finds no {kind} here, only {there}. Try {on_cpu}")
    check_precision(node.get("precision"), f"{prefix}precision", on_cpu=here == "cpu")
    if prefix and "devices" in node:
        check_devices(node["devices"], here)
        strategy = node.get("strategy")
        shared_by = strategy.get("data_parallel_size", 1) if isinstance(strategy, Mapping) else 1
        if not (isinstance(shared_by, int) and shared_by > 0):  # counted from devices: fsdp.yaml
            raise UserError(
                f"trainer.devices={said(shared_by)}: trainer=fsdp needs a plain number. Try trainer.devices="
                f"{gpus().get(here, 2)}"
            )


def check_precision(value: Any, key: str, on_cpu: bool) -> None:
    """Raises UserError for a precision that Lightning does not have, and for half precision on a CPU.

    There Lightning would take bfloat16 without a word on the terminal.
    """
    name = str(value)
    near = OTHER_NAMES.get(name.lower())
    if on_cpu and "16-mixed" in (name, SHORT.get(name), near):
        raise UserError(f"{key}={name} needs a GPU, and this is a CPU. Try {key}=bf16-mixed, or {key}=32-true")
    if value is None or name in (*PRECISIONS, *SHORT, *OTHERS):
        return
    raise UserError(f"{key}={name}: must be one of {', '.join(PRECISIONS)}" + (f". Try {key}={near}" if near else ""))


def said(devices: Any) -> str:
    """As it is typed."""
    return str(devices).replace(" ", "")


def check_devices(devices: Any, here: str) -> None:
    """Raises UserError for a number of processes, or a list of GPUs, that this machine does not have.

    Numbers, numbers as text, ``auto``, and for GPUs also ``-1`` (all) and lists of their numbers.
    """
    typed = said(devices)
    if here == "cpu":
        if typed != "auto" and not (typed.isdigit() and int(typed) > 0):
            raise UserError(f"trainer.devices={typed}: on a CPU it is the number of processes. Try trainer.devices=1")
        if typed != "auto" and int(typed) > (most := max(16, 2 * cores())):
            raise UserError(
                f"trainer.devices={typed}: at most {most} on {cores()} cores. Try trainer.devices={cores()}"
            )
        return
    count = gpus().get(here)
    if count is None or typed in ("auto", "-1") or "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun shows each one GPU
        return
    numbers = typed.strip("[]").split(",")
    listed = isinstance(devices, list | tuple) or "," in typed
    if not all(number.isdigit() for number in numbers) or (not listed and typed == "0"):
        raise UserError(
            f"trainer.devices={typed}: must be a number of GPUs, -1 (all of them) or a list of their numbers"
        )
    most = max(map(int, numbers)) + 1 if listed else int(typed)
    if most > count:
        there = f"there are {count} GPUs" if count > 1 else "there is one GPU"
        wanted = f"trainer.devices={'auto' if count > 1 else 1}"
        raise UserError(f"trainer.devices={typed}: {there} here{', numbered from 0' if listed else ''}. Try {wanted}")
