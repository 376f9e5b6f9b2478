"""``groundup doctor``: what this installation and this machine can do, and how to mend what they cannot."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Literal

from groundup import __version__
from groundup.config.files import checkout, conf_dir
from groundup.config.tree import Config
from groundup.runs.folder import RunFolder
from groundup.runs.history import read_metrics
from groundup.runs.job import Job
from groundup.runs.reference import newest_runs
from groundup.runs.wandb_run import has_key
from groundup.system.cache import default_root
from groundup.system.hardware import cores, gpus, memory_limit
from groundup.system.streams import visible

SHOWN = ("torch", "lightning", "hydra-core", "wandb", "datasets")
LEAST_DISK = 2e9  # bytes free: below, a few checkpoints of a small model fill the disk
LEAST_MEMORY = 4e9
LEAST_SHARED = 500e6  # of /dev/shm, through which workers hand over batches; containers often have 64 MB
SENTENCE = "the quick brown fox jumps over the lazy dog . "  # a model that learns needs few steps to know it by heart
STEPS = 60
MEND = "groundup pretrain size=nano budget=20steps logger=none shows all of it"
FALL = 0.5  # share of the first loss that the last one may be at most


@dataclass(frozen=True)
class Finding:
    """``state``: fine, worth a look, or something does not work. ``mend``: what to type."""

    about: str
    said: str
    state: Literal["ok", "look", "broken"] = "ok"
    mend: str | None = None

    def __str__(self) -> str:
        line = f"{self.state:<7} {self.about:<10} {self.said}"
        return visible(line + (f"\n{'':<18} {self.mend}" if self.mend else ""))


def run(cfg: Config, job: Job) -> None:
    """Prints what was found. Raises SystemExit(1) where something is broken."""
    logs = Path(cfg.paths.logs)
    found = [packages(), devices(), memory(), disk(logs), folders(), weights_and_biases(logs)]
    broken = 0
    for finding in chain(*found, training() if cfg.training else ()):
        print(finding, flush=True)
        broken += finding.state == "broken"
    if broken:
        raise SystemExit(1)


def packages() -> Iterator[Finding]:
    """Whether each requirement is met, by what was installed."""
    from packaging.requirements import Requirement

    wrong = []
    for text in metadata.requires("groundup") or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{wanted.name} is missing")
            continue
        if not wanted.specifier.contains(version, prereleases=True):
            wrong.append(f"{wanted.name} {version} is not {wanted.specifier}")
    known = ", ".join(f"{name} {metadata.version(name)}" for name in SHOWN if _installed(name))
    yield Finding("groundup", f"{__version__}, Python {platform.python_version()}, {known}")
    if wrong:
        source = checkout()
        mend = "make install" if (source / "Makefile").is_file() else "pip install --upgrade groundup"
        yield Finding("packages", "; ".join(wrong), "broken", mend)


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def devices() -> Iterator[Finding]:
    """Cores and GPUs; a driver without a build of torch that can use it."""
    import torch

    yield Finding("cpu", f"{cores()} of {os.cpu_count()} cores, {platform.machine()}")
    found = gpus()
    for kind, count in found.items():
        names = [torch.cuda.get_device_name(i) for i in range(count)] if kind == "cuda" else ["Apple GPU"]
        half = "bf16" if kind == "cuda" and torch.cuda.is_bf16_supported() else "no bf16"
        ddp = " trainer=ddp uses all" if count > 1 else ""
        yield Finding("gpu", f"{', '.join(names)} ({half}): trainer={'gpu' if kind == 'cuda' else 'mps'}.{ddp}")
    if not found and shutil.which("nvidia-smi"):
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "a build for the CPU alone"
        mend = "reinstall torch as https://pytorch.org/get-started/locally says, or update the driver"
        yield Finding(
            "gpu", f"there is a driver of NVIDIA's, and torch {torch.__version__} ({built}) finds no GPU", "look", mend
        )
    elif not found:
        yield Finding("gpu", "none: trainer=cpu")


def memory() -> Iterator[Finding]:
    """What this process may have, and what workers share."""
    if limit := memory_limit():
        low = limit < LEAST_MEMORY
        mend = "size=nano and a smaller batching.batch_size need less" if low else None
        yield Finding("memory", f"{limit / 1e9:.1f} GB", "look" if low else "ok", mend)
    shared = Path("/dev/shm")
    if shared.is_dir() and (free := shutil.disk_usage(shared).free) < LEAST_SHARED:
        mend = "keep num_workers=0, or start the container with --shm-size=2g"
        yield Finding(
            "memory", f"/dev/shm has {free / 1e6:.0f} MB, through which workers hand over batches", "look", mend
        )


def disk(logs: Path) -> Iterator[Finding]:
    """Room for runs and cached data, and whether they may be written."""
    for about, folder in (("logs", logs), ("cache", default_root())):
        there = next(one for one in (folder, *folder.absolute().parents) if one.is_dir())
        key = "paths.logs=FOLDER" if about == "logs" else "export GROUNDUP_CACHE=FOLDER"
        if not os.access(there, os.W_OK):
            yield Finding(about, f"{there} may not be written", "broken", key)
            continue
        free = shutil.disk_usage(there).free
        low = free < LEAST_DISK
        said = f"{folder}: {free / 1e9:.1f} GB free"
        yield Finding(
            about, said, "look" if low else "ok", f"groundup runs shows what is large; or {key}" if low else None
        )


def folders() -> Iterator[Finding]:
    """Where the configurations come from."""
    conf = conf_dir()
    if not (conf / "finetune.yaml").is_file():
        yield Finding("conf", f"{conf} has no finetune.yaml", "broken", "unset GROUNDUP_CONF")
    elif "GROUNDUP_CONF" in os.environ:
        yield Finding("conf", f"{conf}, as GROUNDUP_CONF says")
    else:
        yield Finding("conf", str(conf))
    if allowed := os.environ.get("GROUNDUP_ALLOW"):
        yield Finding("conf", f"GROUNDUP_ALLOW={allowed}: classes there may be named in a configuration", "look")


def weights_and_biases(logs: Path) -> Iterator[Finding]:
    """Whether runs can be uploaded, and how many were not yet."""
    import wandb

    if not hasattr(wandb, "init"):
        mend = "rename the folder wandb/ of the current folder, which hides the package"
        yield Finding("wandb", "imports as an empty package", "broken", mend)
        return
    offline = sum(any((run.path / "wandb").glob("offline-run-*")) for run in newest_runs(logs)) if logs.is_dir() else 0
    key = (
        "a key is at hand: wandb.mode=online uploads"
        if has_key()
        else "no key, and none is needed: runs are logged offline"
    )
    runs = f"; {offline} run{'s' * (offline != 1)} below {logs} logged offline" if offline else ""
    yield Finding("wandb", f"{metadata.version('wandb')}, {key}{runs}", "ok")


def training() -> Iterator[Finding]:
    """Trains a tiny decoder on a sentence, by the command itself: what kills a process is found, too."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="groundup-doctor-") as scratch:
        folder, text = RunFolder(Path(scratch) / "run"), Path(scratch) / "text.txt"
        text.write_text(SENTENCE * 400, encoding="utf-8")
        words = (
            f"data=files data.train={text} data.validation={text} data.txt=file tokenizer=char size=nano logger=none "
            f"budget.steps={STEPS} validate_every={STEPS} batching.length=64 batching.batch_size=8 "
            f"optimizer.lr=3e-3 callbacks.step_logger.every=1 paths.cache={scratch}/cache hydra.run.dir={folder.path}"
        ).split()
        command = [sys.executable, "-m", "groundup", "pretrain", *words]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["it ended without a word"]
            yield Finding("training", f"exit code {done.returncode}: {last[0]}", "broken", MEND)
            return
        losses = [row["train/loss"] for row in read_metrics(folder.metrics_csv) if "train/loss" in row]
    said = f"loss {losses[0]:.2f} to {losses[-1]:.2f} in {STEPS} steps; {time.monotonic() - begun:.0f} s in all"
    if losses[-1] > FALL * losses[0]:
        yield Finding("training", f"{said}: it does not learn", "broken", "make test")
    else:
        yield Finding("training", said)
