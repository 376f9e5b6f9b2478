"""A toy project: its own folder of configurations, its own package, and a stage that does what its seed says."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

PARTS = """
from __future__ import annotations
import os
from typing import Annotated, Any, Literal, TYPE_CHECKING
from pydantic import Field
from groundup.errors import UserError
if TYPE_CHECKING:
    from nowhere import Mystery

class Net:
    def __init__(self, vocab_size: int, width: Annotated[int, Field(ge=1)] = 16,
                 dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1, cell: Literal["lstm", "gru"] = "lstm",
                 betas: tuple[float, float] = (0.9, 0.99), bias: bool = True, name: str | None = None,
                 inner: Net | None = None, mystery: Mystery | None = None,
                 warmup: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)] = 0):
        if width == 13:
            raise ZeroDivisionError("thirteen")
        if width % 2:
            raise UserError(f"model.width = {width} must be even. Try model.width={width + 1}")
        self.arguments = {key: value for key, value in locals().items() if key != "self"}

class Cosine:
    def __init__(self, optimizer, total_steps: int, final: Annotated[float, Field(ge=0)] = 0.0):
        self.arguments = optimizer, total_steps, final
"""

STAGE = """
import logging
from groundup.errors import UserError

def run(cfg, job):
    logging.getLogger("groundup.toy").info("working")
    logging.getLogger("other.package").info("chatter")
    if cfg.seed == 3:
        raise UserError("three is no seed. Try seed=4")
    if cfg.seed == 4:
        raise ValueError("four\\nis a bug")
    if cfg.seed == 5:
        raise KeyboardInterrupt
    if cfg.seed == 6:
        raise SystemExit(75)
    if cfg.seed == 7:
        raise SystemExit(9)
    loss = cfg.model.width + cfg.seed / 10
    found = {"validation/loss": loss, "test/accuracy": 1 / loss}
    job.folder.write_json("metrics.json", {name: {"value": value, "ci95": [None, None], "n": 1} for name, value in found.items()})
    return loss
"""

# Its stage is known to child processes, too, and a report, for which torch is imported, is none of theirs.
IN_CHILDREN = """
import sys, types
from groundup.config.files import STAGES
STAGES["pretrain"] = "toy_stage", "toy"
page = sys.modules["groundup.report.page"] = types.ModuleType("groundup.report.page")
page.write_report = lambda folder: folder.report
"""

PRETRAIN = """
# Toy pretraining.
defaults:
  - _self_
  - model: small
  - paths: default
  - hydra: default
  - experiment: null
  - optional local: default
  - debug: null

seed: 1  # all follows from it
monitor: validation/loss
monitor_mode: min
budget: {steps: 10, tokens: null}
metrics: []
prompt: ""
run_name: ""
init_from: null
"""


@dataclass
class Toy:
    """The toy project in use; ``groundup`` runs a command line in this process."""

    root: Path
    conf: Path
    groundup: Callable[..., int]

    def write(self, name: str, text: str) -> Path:
        file = self.conf / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def runs(self) -> list[Path]:
        """Run folders, in the order in which they were made."""
        return sorted((file.parent for file in self.root.glob("logs/**/status.json")), key=lambda path: path.name)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_module: Callable[[str, str], None]) -> Toy:
    from groundup import cli

    conf = tmp_path / "conf"
    write_module("toy_parts", PARTS)
    write_module("toy_stage", STAGE)
    monkeypatch.setenv("GROUNDUP_CONF", str(conf))
    monkeypatch.setenv("GROUNDUP_ALLOW", "toy_parts")
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    monkeypatch.setitem(cli.STAGES, "pretrain", ("toy_stage", "toy"))
    monkeypatch.chdir(tmp_path)
    toy = Toy(tmp_path, conf, lambda *words: cli.run(list(words)))
    toy.write("pretrain", PRETRAIN)
    toy.write("model/small", "_target_: toy_parts.Net\nwidth: 16\ndropout: 0.1\ncell: lstm\n")
    toy.write("model/big", "defaults: [small]\nwidth: 64\n")
    for file in [*(REPOSITORY / "conf" / "hydra").rglob("*.yaml"), REPOSITORY / "conf" / "resume.yaml"]:
        toy.write(str(file.relative_to(REPOSITORY / "conf").with_suffix("")), file.read_text())
    toy.write("paths/default", (REPOSITORY / "conf" / "paths" / "default.yaml").read_text())
    return toy


@pytest.fixture
def toy_processes(toy: Toy, monkeypatch: pytest.MonkeyPatch, write_module: Callable[[str, str], None]) -> Toy:
    """The toy project for tests that start processes."""
    write_module("sitecustomize", IN_CHILDREN)
    folders = [str(toy.root / "package"), str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))
    return toy
