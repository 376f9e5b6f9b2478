"""What a configuration may build."""

from __future__ import annotations

import dataclasses

import pytest

from groundup.config.safe import instantiate, resolve
from groundup.errors import UserError

MALICIOUS = [
    "os.system",
    "builtins.eval",
    "builtins.open",
    "subprocess.run",
    "shutil.rmtree",
    "pathlib.Path.unlink",
    "torch.load",
    "torch.hub.load",
    "joblib.load",
    "numpy.load",
    "hydra.utils.get_method",
    "groundup.cli.main",
    "groundup.cli.sys.exit",
    "groundup.config.safe.instantiate",
    "groundup.runs.atomic.write_text",
    "groundup.data.cache.os.system",
    "groundup.data.cache.Path",
    "groundup.data.cache.shutil.rmtree",
    "torch.optim.optimizer.torch.load",
    "torch.nn.functional.torch.load",
    "torch.nn.init.kaiming_normal_",
    "torch.optimism.AdamW",
    "groundupx.models.Net",
]


@pytest.mark.parametrize("target", MALICIOUS)
def test_malicious_targets_are_refused(target):
    with pytest.raises(UserError, match=r"a config may only name classes|has no|no module"):
        instantiate({"_target_": target})


@pytest.mark.slow
def test_class_methods_that_unpickle_are_refused():
    with pytest.raises(UserError):
        resolve("lightning.pytorch.callbacks.Callback.load_state_dict")


def test_nested_and_interpolated_targets_are_refused():
    from omegaconf import OmegaConf

    bad = {"_target_": "os.getcwd"}
    with pytest.raises(UserError, match=r"a\[0\].b._target_ = os.getcwd"):
        instantiate({"_target_": "torch.nn.Identity", "a": [{"b": bad}]})
    cfg = OmegaConf.create({"name": "os.getcwd", "node": {"_target_": "${name}"}})
    with pytest.raises(UserError, match=r"os\.getcwd"):
        instantiate(cfg.node)
    with pytest.raises(UserError, match="dotted name"):
        instantiate({"_target_": ["os", "getcwd"]})


def test_users_extend_the_list(toy, monkeypatch):
    assert instantiate({"_target_": "toy_parts.Net"}, vocab_size=3).arguments["vocab_size"] == 3
    monkeypatch.delenv("GROUNDUP_ALLOW")
    with pytest.raises(UserError, match="GROUNDUP_ALLOW=toy_parts groundup"):
        instantiate({"_target_": "toy_parts.Net"}, vocab_size=3)
    monkeypatch.setenv("GROUNDUP_ALLOW", "toy_parts")
    with pytest.raises(UserError, match=r"which is nt|which is posix|which is os"):
        resolve("toy_parts.os.system")


def test_misspelt_target_is_told(toy):
    with pytest.raises(UserError, match=r"toy_parts has no 'Nett'; did you mean 'Net'\? Try _target_=toy_parts.Net$"):
        resolve("toy_parts.Nett")


def test_supplied_values_arrive_as_they_are(toy):
    @dataclasses.dataclass
    class Facts:
        ids: tuple

    facts, rows = Facts((1, 2)), [{"_target_": "os.system"}]
    net = instantiate({"_target_": "toy_parts.Net", "betas": [0.1, 0.2]}, vocab_size=facts, inner=rows)
    assert net.arguments["vocab_size"] is facts
    assert net.arguments["inner"] is rows
    assert type(net.arguments["betas"]) is list


def test_constructor_errors_are_the_constructors_own(toy):
    with pytest.raises(ZeroDivisionError, match=r"^thirteen$"):
        instantiate({"_target_": "toy_parts.Net", "width": 13}, vocab_size=1)
    nested = {
        "_target_": "toy_parts.Net",
        "vocab_size": 1,
        "inner": {"_target_": "toy_parts.Net", "vocab_size": 1, "width": 15},
    }
    with pytest.raises(UserError, match="must be even"):
        instantiate(nested)


def test_partial_nodes_wait_for_the_rest(toy):
    schedule = instantiate({"_target_": "toy_parts.cosine", "_partial_": True, "final": 0.1}, total_steps=9)
    assert schedule("optimizer") == ("optimizer", 9, 0.1)
