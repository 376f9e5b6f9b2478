"""The configurations that are shipped: every choice holds against the signatures, and no file is a riddle."""

from __future__ import annotations

import re

import pytest

from groundup.cli import STAGES, conf_dir
from groundup.config.check import check
from groundup.config.compose import compose_with_choices, resolved
from groundup.config.files import groups, origin
from groundup.config.manual import manual
from groundup.errors import UserError

NEEDED = {
    "evaluate": ["run=x"],
    "predict": ["run=x", "input=a.txt", "output=b.jsonl"],
    "generate": ["run=x"],
    "resume": ["run=x"],
    "pipeline": ["experiment=demo"],
}
NOT_TRAINING = {"hydra", "paths", "decoding"}


def passes(stage: str, overrides: list[str]) -> None:
    cfg, choices = compose_with_choices(stage, overrides)
    check(resolved(cfg), stage, overrides, choices)


@pytest.fixture(autouse=True)
def shipped(monkeypatch, tmp_path):
    monkeypatch.delenv("GROUNDUP_CONF", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_passes_the_check(stage):
    passes(stage, NEEDED.get(stage, []))


def training_choices() -> list[str]:
    found = groups(conf_dir())
    return [f"{group}={name}" for group in found.keys() - NOT_TRAINING for name in found[group]]


@pytest.mark.slow
@pytest.mark.parametrize("choice", sorted(training_choices()))
def test_every_choice_passes_the_check(choice):
    text = (conf_dir() / f"{choice.replace('=', '/')}.yaml").read_text()
    steps = choice.startswith("experiment=") and re.search(r"^steps:", text, re.MULTILINE)
    passes("pipeline" if steps else "pretrain", [choice])


def test_experiment_of_another_verb_is_told():
    with pytest.raises(UserError, match=r"shakespeare_cpu.yaml: data: groundup pipeline has no group 'data'"):
        compose_with_choices("pipeline", ["experiment=shakespeare_cpu"])


def test_debug_beats_experiment_and_the_command_line_beats_debug():
    overrides = ["experiment=shakespeare_cpu", "debug=default"]
    assert compose_with_choices("pretrain", overrides)[0].budget.steps == 10
    assert compose_with_choices("pretrain", [*overrides, "budget.steps=3"])[0].budget.steps == 3


def test_manual_shows_choices_and_commented_keys():
    page = manual("pretrain", "train", conf_dir())
    assert page.startswith("groundup pretrain: train\nPretraining:")
    assert "  model      transformer_decoder, bilstm_encoder" in page
    assert "recurrent," not in page.split("Keys")[0].replace("recurrent_layers", "")
    assert "validate_every: 100" in page
    assert "defaults:" not in page


def test_origin_names_the_layer_that_wins(tmp_path):
    for name, text in {
        "pretrain": "defaults:\n  - base\nseed: 1",
        "base": "monitor: x",
        "model/a": "defaults:\n  - common\nwidth: 3",
        "model/common": "dropout: 0.1",
        "experiment/e": "model:\n  width: 5",
    }.items():
        file = tmp_path / "conf" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    def source(path: str, overrides=(), **choices):
        return origin(tmp_path / "conf", path, "pretrain", overrides, {"model": "a", **choices})

    assert source("model.width") == "conf/model/a.yaml"
    assert source("model.width", experiment="e") == "conf/experiment/e.yaml"
    assert source("model.dropout") == "conf/model/common.yaml"
    assert source("monitor") == "conf/base.yaml"
    assert source("seed") == "conf/pretrain.yaml"
    assert source("model.width", ["model.width=7"]) is None
    assert source("model.nothing") is None
