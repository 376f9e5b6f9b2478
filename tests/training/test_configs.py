"""Every YAML of this room builds what it names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from torch import nn

from groundup.config.build import instantiate
from groundup.training.groups import parameter_groups

CONF = Path(__file__).parents[2] / "conf"
NET = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))


def load(group: str, name: str) -> dict:
    return OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"), resolve=True)


def files(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("name", files("optimizer"))
def test_optimizer_takes_our_groups_and_steps(name: str) -> None:
    node = load("optimizer", name)
    groups = parameter_groups(NET, node["lr"], node["weight_decay"])
    optimizer = instantiate(node, "optimizer")(groups)
    before = NET[0].weight.detach().clone()
    NET(torch.randn(2, 4)).square().sum().backward()
    optimizer.step()
    assert not torch.equal(before, NET[0].weight)


@pytest.mark.parametrize("name", files("scheduler"))
def test_scheduler_takes_an_optimizer_and_a_length(name: str) -> None:
    optimizer = torch.optim.SGD(NET.parameters(), lr=0.1)
    make = instantiate(load("scheduler", name), "scheduler")
    assert make(optimizer, total_steps=50).get_last_lr()[0] <= 0.1


@pytest.mark.parametrize("name", files("trainer"))
def test_trainer_config_names_options_of_lightning(name: str) -> None:
    node = OmegaConf.load(CONF / "trainer" / f"{name}.yaml")
    node = OmegaConf.merge(OmegaConf.load(CONF / "trainer" / "cpu.yaml"), node)
    node.pop("defaults", None)
    root = OmegaConf.create({"trainer": node})  # interpolations start at the root
    node = OmegaConf.to_container(root, resolve=True)["trainer"]
    strategy = instantiate(node["strategy"], "trainer.strategy") if "strategy" in node else "auto"
    here = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False, "strategy": "auto"}
    if node.get("precision") == "bf16-true":
        here["precision"] = "bf16-true"
    assert isinstance(instantiate({**node, **here}, "trainer"), Trainer)
    assert strategy == "auto" or strategy.__class__.__name__ in ("DDPStrategy", "ModelParallelStrategy")


@pytest.mark.parametrize("name", files("callbacks"))
def test_callbacks_are_named(name: str) -> None:
    root = OmegaConf.create({"monitor": "validation/accuracy", "monitor_mode": None})
    root.callbacks = OmegaConf.load(CONF / "callbacks" / f"{name}.yaml")
    for key, node in OmegaConf.to_container(root, resolve=True)["callbacks"].items():
        callback = instantiate(node, f"callbacks.{key}")
        assert isinstance(callback, Callback), key
        if "monitor" in node:
            assert (callback.monitor, callback.mode) == ("validation/accuracy", None)
