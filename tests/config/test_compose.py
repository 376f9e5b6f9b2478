"""Composition: the order of layers, inside and outside of a running application."""

from __future__ import annotations

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from groundup.config.compose import compose, compose_with_choices
from groundup.config.hydra import compose_raw, run_name
from groundup.config.tree import Config
from groundup.errors import UserError


@pytest.fixture
def layered(toy):
    """Each layer sets its own key and those of all the layers above it."""
    layers = ["base", "group", "experiment", "local", "debug"]
    keys = {layer: "".join(f"  {above}: {layer}\n" for above in layers[number:]) for number, layer in enumerate(layers)}
    defaults = (toy.conf / "pretrain.yaml").read_text().split("seed:")[0].replace("model: small", "model: layers")
    toy.write("pretrain", f"{defaults}\nmodel:\n{keys['base']}  word: base\n")
    toy.write("model/layers", keys["group"].replace("  ", ""))
    toy.write("experiment/one", f"# @package _global_\nmodel:\n{keys['experiment']}")
    toy.write("local/default", f"# @package _global_\nmodel:\n{keys['local']}")
    toy.write("debug/default", f"# @package _global_\nmodel:\n{keys['debug']}")
    return toy


def test_order_base_groups_experiment_local_debug_command_line(layered):
    cfg = compose("pretrain", ["experiment=one", "debug=default", "model.word=typed"])
    assert cfg.model == {name: name for name in ("base", "group", "experiment", "local", "debug")} | {"word": "typed"}
    assert compose("pretrain", ["debug=default", "model.debug=typed"]).model.debug == "typed"


def test_choices_are_told(toy):
    cfg, choices = compose_with_choices("pretrain", ["model=big"])
    assert choices["model"] == "big"
    assert choices["experiment"] is None
    assert "hydra" not in cfg


def test_compose_inside_a_running_application_leaves_it_alone(toy):
    (toy.root / "package" / "toy_stage.py").write_text(
        "from groundup.config.compose import compose\n"
        "from hydra.core.hydra_config import HydraConfig\n"
        "from hydra.core.global_hydra import GlobalHydra\n"
        "def run(cfg, job):\n"
        "    before = HydraConfig.get().runtime.choices.model, GlobalHydra.instance().hydra\n"
        "    inner = compose('pretrain', ['model=big', 'seed=9'])\n"
        "    after = HydraConfig.get().runtime.choices.model, GlobalHydra.instance().hydra\n"
        "    job.folder.write_json('seen.json', [before == after, inner.model.width, cfg.model.width])\n"
    )
    assert toy.groundup("pretrain", "hydra.run.dir=run") == 0
    assert (toy.root / "run" / "seen.json").read_text().split() == ["[", "true,", "64,", "16", "]"]


def test_compose_leaves_nothing_behind(toy):
    compose("pretrain")
    assert not GlobalHydra.instance().is_initialized()
    assert not HydraConfig.initialized()


def test_config_dir_of_the_command_also_serves_compose(toy):
    extra = toy.root / "extra" / "model"
    extra.mkdir(parents=True)
    (extra / "mine.yaml").write_text("_target_: toy_parts.Net\nwidth: 8\n")
    (toy.root / "package" / "toy_stage.py").write_text(
        "from groundup.config.compose import compose\n"
        "def run(cfg, job):\n    job.folder.write_json('seen.json', compose('pretrain', ['model=mine']).model.width)\n"
    )
    assert toy.groundup("pretrain", "--config-dir", "extra", "model=mine", "hydra.run.dir=run") == 0
    assert (toy.root / "run" / "seen.json").read_text() == "8\n"


def test_mistakes_are_user_errors(toy):
    with pytest.raises(UserError, match=r"^model.dropuot=1: no key or group .* Try model.dropout=1$"):
        compose("pretrain", ["model.dropuot=1"])
    with pytest.raises(UserError, match="no key 'nope'"):
        compose("pretrain", ["run_name=${nope}"])


def test_choice_resolver_and_text_with_braces(toy):
    cfg = compose("pretrain", ["prompt='${choice:model} \\${literally}'"])
    assert cfg.prompt == "small ${literally}"


def test_reading_a_key_that_is_not_there_raises():
    cfg = Config({"model": {"width": 3}})
    with pytest.raises(AttributeError):
        _ = cfg.model.witdh
    assert cfg.model.get("depth", 5) == 5


def test_overrides_in_code_need_no_quotes_either(toy):
    assert compose("pretrain", ["run_name=我的 (1), x=y"]).run_name == "我的 (1), x=y"


def test_there_is_no_eval(toy):
    with pytest.raises(UserError, match="eval"):
        compose("pretrain", ["run_name=${eval:1}"])


def test_a_run_that_begins_with_another_one_is_kept_under_the_model_of_that_one(tmp_path, monkeypatch):
    monkeypatch.delenv("GROUNDUP_CONF", raising=False)
    monkeypatch.chdir(tmp_path)
    parent = tmp_path / "a run"
    (parent / "checkpoints").mkdir(parents=True)
    (parent / "status.json").write_text('{"choices": {"model": "bilstm_encoder"}}')
    for began, typed, name in (
        ("a run", [], "trec6_bilstm_encoder"),
        ("a run/checkpoints/best.ckpt", [], "trec6_bilstm_encoder"),
        ("a run", ["model=cnn_encoder"], "trec6_cnn_encoder"),
        ("last", [], "trec6"),
    ):
        words = ["data=trec6", f"init_from={began}", *typed]
        assert run_name(_root_=compose_raw("finetune", words)) == name
    (parent / "status.json").write_text('{"choices": []')
    assert run_name(_root_=compose_raw("finetune", ["data=trec6", "init_from=a run"])) == "trec6"
