"""What a configuration may build, and where."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import sys
from functools import cache, partial

import pytest

from groundup.config.build import instantiate
from groundup.config.places import PLACES, place_at, resolve
from groundup.errors import UserError

DANGEROUS = """
os.system posix.system os.popen os.remove shutil.rmtree subprocess.run subprocess.Popen builtins.eval builtins.exec
builtins.open builtins.getattr builtins.len builtins.__import__ operator.mul operator.attrgetter operator.methodcaller
functools.partial functools.reduce pathlib.Path pathlib.Path.unlink pathlib.Path.write_text importlib.import_module
runpy.run_path pickle.load pickle.loads shelve.open ctypes.CDLL socket.socket webbrowser.open code.interact
torch.load torch.save torch.hub.load torch.utils.collect_env.run torch.utils.cpp_extension.load torch.jit.load
torch.optim.optimizer.torch.load torch.nn.functional.torch.load torch.nn.init.kaiming_normal_ torch.nn.Linear
torch.optim.Optimizer torch.optim.lr_scheduler.LambdaLR torch.optim.swa_utils.AveragedModel torch.optimism.AdamW
numpy.load joblib.load yaml.unsafe_load hydra.utils.instantiate hydra.utils.get_method hydra.utils.call
omegaconf.OmegaConf.create omegaconf.OmegaConf.load lightning.pytorch.callbacks.ModelCheckpoint
lightning.pytorch.callbacks.LambdaCallback lightning.pytorch.callbacks.OnExceptionCheckpoint
lightning.pytorch.callbacks.LearningRateFinder lightning.pytorch.callbacks.Callback.load_state_dict
lightning.pytorch.loggers.CSVLogger lightning.pytorch.loggers.TensorBoardLogger
lightning.pytorch.profilers.PyTorchProfiler lightning.pytorch.strategies.DeepSpeedStrategy
lightning.pytorch.plugins.TorchCheckpointIO lightning.pytorch.Trainer.save_checkpoint
lightning.pytorch.trainer.trainer.torch.load groundup.cli.main groundup.cli.sys.exit
groundup.config.build.instantiate groundup.system.files.write_text groundup.system.cache.os.system
groundup.system.cache.Path groundup.text.tokenizer.Tokenizer.save groundup.data.sources.files.Path
groundup.training.resume.AtomicIO groundup.training.resume.AtomicIO.save_checkpoint groundupx.models.Net
groundup.models.backbone.Backbone groundup.models.transformer.torch.load groundup.models.transformer.__builtins__
groundup.models.transformer.TransformerDecoder.__class__ groundup.models.transformer.TransformerDecoder.from_pretrained
torch.optim.AdamW. .torch.optim.AdamW torch..optim.AdamW torch.optim.AdamW\x00 torch.optim.ＡdamW AdamW torch
""".split()


@cache
def exported() -> list[str]:
    """Every dotted name that the tree exports: modules, what they hold, and what their classes hold."""
    import groundup

    names = []
    for info in pkgutil.walk_packages(groundup.__path__, "groundup."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        names.append(info.name)
        for name, value in vars(module).items():
            names.append(f"{info.name}.{name}")
            if inspect.isclass(value) and value.__module__.startswith("groundup."):
                names += [f"{info.name}.{name}.{inner}" for inner in vars(value)]
    return names


def base_of(path: str) -> type | None:
    base = PLACES[path].base
    return named(base) if base else None


def named(name: str) -> type:
    home, _, last = name.rpartition(".")
    return getattr(importlib.import_module(home), last)


@pytest.mark.parametrize("path", PLACES)
def test_only_the_classes_of_a_place_can_be_built_there(path):
    """Every name of the tree and of a list of dangerous ones is refused, or is a class that belongs at this place."""
    here, base, passed = path.replace("*", "any"), base_of(path), set()
    for name in [*DANGEROUS, *exported()]:
        try:
            found = resolve(name, here)
        except UserError:
            continue
        assert inspect.isclass(found), name
        assert name in PLACES[path].homes or base in found.__mro__[1:], name
        passed.add(found.__name__)
    assert not passed & {"Backbone", "Task", "Decoding", "Source", "Callback", "Optimizer", "Path", "AtomicIO"}
    assert passed or path in ("trainer", "trainer.strategy")


def test_nothing_can_be_built_elsewhere():
    places = [
        "",
        "model.dropout",
        "model.encoder.dropout",
        "data.root",
        "data.clean.html",
        "trainer.plugins",
        "steps.a",
    ]
    places += [
        "callbacks",
        "callbacks.a.b",
        "trainer.callbacks",
        "trainer.profiler",
        "optimizer.lr",
        "size",
        "paths.cache",
    ]
    for path in places:
        assert place_at(path) is None, path
        for name in [*DANGEROUS, *exported()[::100]]:
            with pytest.raises(UserError):
                resolve(name, path)


def test_a_refused_name_is_not_imported(monkeypatch):
    for name in ["antigravity", "this", "torch.utils.collect_env", "lightning.pytorch.demos"]:
        for found in [found for found in sys.modules if found == name or found.startswith(f"{name}.")]:
            monkeypatch.delitem(sys.modules, found)
        for path in PLACES:
            with pytest.raises(UserError):
                resolve(f"{name}.anything", path.replace("*", "any"))
        assert name not in sys.modules


def test_text_that_looks_like_an_interpolation_stays_text(toy, monkeypatch):
    """No resolver is run on plain values, whatever it is called and wherever it stands."""
    from omegaconf import OmegaConf
    from omegaconf.basecontainer import BaseContainer

    from groundup.config.hydra import register

    register()
    monkeypatch.setenv("MY_SECRET", "hush")
    create = "${oc.create:{_target_: operator.mul, _args_: [2, 3]}}"
    texts = [f"${{{name}:MY_SECRET}}" for name in BaseContainer._resolvers] + [create, "\\" + create, "${seed}", "a${b"]
    assert "${oc.env:MY_SECRET}" in texts
    node = {"_target_": "toy_parts.Net", "name": texts, "inner": {"_target_": "toy_parts.Net", "name": {"a": texts}}}
    net = instantiate({**node, "inner": {**node["inner"], "vocab_size": 1}}, "model", vocab_size=1)
    assert net.arguments["name"] == texts
    assert net.arguments["inner"].arguments["name"] == {"a": texts}
    with pytest.raises(TypeError, match="plain values"):  # nor on what still could be resolved
        instantiate({"_target_": "toy_parts.Net", "name": OmegaConf.create({"a": "${oc.env:MY_SECRET}"})}, "model")


def test_refusals_say_what_to_type(toy, monkeypatch):
    bad = {"_target_": "os.getcwd"}
    with pytest.raises(UserError, match=r"model.dropout._target_ = os.getcwd: nothing can be built here. Give a plain"):
        instantiate({"_target_": "groundup.models.transformer.TransformerDecoder", "dropout": bad}, "model")
    with pytest.raises(UserError, match=r"model.a\[0\].b._target_ = os.getcwd: nothing .* GROUNDUP_ALLOW=toy_parts,os"):
        instantiate({"_target_": "toy_parts.Net", "a": [{"b": bad}]}, "model")
    with pytest.raises(
        UserError, match=r"^optimizer._target_ = os.getcwd: here goes an optimizer out of torch.optim, "
    ):
        instantiate(bad, "optimizer")
    with pytest.raises(UserError, match="dotted name"):
        instantiate({"_target_": ["os", "getcwd"]}, "model")
    for word in ("_args_", "_recursive_", "_convert_", "_partial_", "__class__"):
        with pytest.raises(UserError, match=f"tokenizer.{word}: has no meaning here"):
            instantiate({"_target_": "groundup.text.tokenizer.TokenizerSpec", "kind": "char", word: True}, "tokenizer")


def test_users_extend_the_list(toy, monkeypatch):
    assert instantiate({"_target_": "toy_parts.Net"}, "model", vocab_size=3).arguments["vocab_size"] == 3
    for refused in ("toy_parts.os.system", "toy_parts.os", "toy_parts.Any", "toy_parts.UserError"):
        with pytest.raises(UserError):
            resolve(refused, "model")
    with pytest.raises(UserError, match="nothing can be built here"):
        resolve("toy_parts.Net", "data.root")
    monkeypatch.setenv("GROUNDUP_ALLOW", "toy_parts.Net")
    assert resolve("toy_parts.Net", "model").__name__ == "Net"
    with pytest.raises(UserError, match=r"GROUNDUP_ALLOW=toy_parts.Net,toy_parts.Cosine groundup"):
        resolve("toy_parts.Cosine", "scheduler")
    monkeypatch.delenv("GROUNDUP_ALLOW")
    with pytest.raises(UserError, match=r"GROUNDUP_ALLOW=toy_parts.Net groundup"):
        instantiate({"_target_": "toy_parts.Net"}, "model", vocab_size=3)


def test_only_classes_even_of_ones_own(toy, monkeypatch):
    monkeypatch.setenv("GROUNDUP_ALLOW", "toy_parts, os")
    with pytest.raises(UserError, match=r"os.system: only classes can be built, and this is a builtin_function"):
        resolve("os.system", "model")


def test_misspelt_target_is_told(toy, monkeypatch):
    with pytest.raises(UserError, match=r"no 'Nett'; did you mean 'Net'\? Try model._target_=toy_parts.Net$"):
        resolve("toy_parts.Nett", "model")
    with pytest.raises(UserError, match=r"did you mean 'AdamW'\? Try optimizer._target_=torch.optim.AdamW$"):
        resolve("torch.optim.AdmaW", "optimizer")
    with pytest.raises(UserError, match=r"there is no module groundup.models.nope$"):
        resolve("groundup.models.nope.Net", "model")
    monkeypatch.setenv("GROUNDUP_ALLOW", "not_there")
    with pytest.raises(UserError, match=r"there is no module not_there\. .*: PYTHONPATH=\. groundup \.\.\.$"):
        resolve("not_there.models.Net", "model")


def test_supplied_values_arrive_as_they_are(toy):
    @dataclasses.dataclass
    class Facts:
        ids: tuple

    facts, rows = Facts((1, 2)), [{"_target_": "os.system"}]
    node = {"_target_": "toy_parts.Net", "betas": [0.1, 0.2], "inner": "of the configuration"}
    net = instantiate(node, "model", vocab_size=facts, inner=rows)
    assert net.arguments["vocab_size"] is facts
    assert net.arguments["inner"] is rows
    assert type(net.arguments["betas"]) is list


def test_constructor_errors_are_the_constructors_own(toy):
    with pytest.raises(ZeroDivisionError, match=r"^thirteen$"):
        instantiate({"_target_": "toy_parts.Net", "width": 13}, "model", vocab_size=1)
    nested = {
        "_target_": "toy_parts.Net",
        "vocab_size": 1,
        "inner": {"_target_": "toy_parts.Net", "vocab_size": 1, "width": 15},
    }
    with pytest.raises(UserError, match="must be even"):
        instantiate(nested, "model")


def test_partial_nodes_wait_for_the_rest(toy):
    schedule = instantiate(
        {"_target_": "toy_parts.Cosine", "_partial_": True, "final": 0.1}, "optimizer", total_steps=9
    )
    assert isinstance(schedule, partial)
    assert schedule("optimizer").arguments == ("optimizer", 9, 0.1)
