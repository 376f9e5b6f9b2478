"""The configurations that are shipped: every choice holds against the signatures, and no file is a riddle."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from groundup.config.check import check
from groundup.config.compose import compose_with_choices
from groundup.config.files import conf_dir, experiment_stage, origin
from groundup.config.help import manual
from groundup.errors import UserError
from groundup.jobs.preflight import preflight
from groundup.jobs.steps import at_sizes, changed, compose_steps
from groundup.jobs.words import for_steps


@pytest.fixture(autouse=True)
def shipped(monkeypatch, tmp_path):
    monkeypatch.delenv("GROUNDUP_CONF", raising=False)
    monkeypatch.chdir(tmp_path)


def test_experiment_of_another_verb_is_told():
    with pytest.raises(
        UserError,
        match=r"experiment=shakespeare_cpu: it is for groundup pretrain. Try groundup pretrain experiment=shakespeare_cpu",
    ):
        compose_with_choices("pipeline", ["experiment=shakespeare_cpu"])


def test_debug_beats_experiment_and_the_command_line_beats_debug():
    overrides = ["experiment=shakespeare_cpu", "debug=default"]
    assert compose_with_choices("pretrain", overrides)[0].budget.steps == 10
    assert compose_with_choices("pretrain", [*overrides, "budget.steps=3"])[0].budget.steps == 3


def test_where_the_cache_is_without_a_word_of_the_user_is_decided_in_one_place(monkeypatch):
    monkeypatch.setenv("GROUNDUP_CACHE", "/mine")
    assert compose_with_choices("pretrain", [])[0].paths.cache == "/mine"
    monkeypatch.delenv("GROUNDUP_CACHE")
    assert compose_with_choices("pretrain", [])[0].paths.cache is None  # as data.cache says: XDG, no home, read-only


def named_dropout(node, path=""):
    """Every value called dropout, by its path."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from named_dropout(value, f"{path}{key}.")
        elif "dropout" in key:
            yield f"{path}{key}", value


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("pretrain", "model=transformer_decoder"),
        ("pretrain", "model=lstm_decoder"),
        ("pretrain", "task=masked_lm model=transformer_encoder"),
        ("pretrain", "task=denoising"),
        ("finetune", "model=bilstm_encoder"),
        ("finetune", "task=translation"),
        ("finetune", "task=summarization model=lstm_encoder_decoder"),
        ("finetune", "experiment=multi30k_en_de"),
        ("finetune", "experiment=tatoeba_en_zh"),
    ],
)
def test_every_model_can_be_overfitted_and_has_one_word_for_its_dropout(stage, words):
    for more, expected in ((["debug=overfit"], 0.0), (["model.dropout=0.25"], 0.25)):
        overrides = [*words.split(), *more]
        cfg, choices = compose_with_choices(stage, overrides)
        check({"model": cfg.model}, stage, overrides, choices)
        found = dict(named_dropout(cfg.model))
        assert {value for name, value in found.items() if name.endswith("dropout") and "_" not in name} == {expected}
    if "encoder" in cfg.model:
        cfg, _ = compose_with_choices(stage, [*words.split(), "model.dropout=0.25", "model.decoder.dropout=0.5"])
        assert (cfg.model.encoder.dropout, cfg.model.decoder.dropout) == (0.25, 0.5)


def test_manual_shows_choices_and_commented_keys():
    page = manual("pretrain", "train", conf_dir())
    assert page.startswith("groundup pretrain: train\nPretraining:")
    assert "  model      transformer_decoder, bag_of_ngrams, bilstm_encoder" in page
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


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "baseline", "evaluate"])
def test_help_keeps_the_name_of_a_group_apart_from_its_choices(verb):
    listed = manual(verb, "", conf_dir()).partition("the default first:\n")[2].partition("\n\n")[0].splitlines()
    heads = [re.match(r"  (\w+) +(?=\S)", line) for line in listed if not line.startswith("   ")]
    assert all(head and (conf_dir() / head[1]).is_dir() for head in heads)
    assert len({head.end() for head in heads}) == 1


@pytest.mark.parametrize("verb", ["pretrain", "finetune", "pipeline"])
def test_help_lists_the_experiments_of_the_verb_and_the_others_are_refused(verb, capsys, tmp_path):
    from groundup import cli

    listed = re.search(r"\n  experiment +(.*?)(?=\n  \w|\n\n)", manual(verb, "", conf_dir()), re.DOTALL)[1]
    for file in (conf_dir() / "experiment").glob("*.yaml"):
        its_verb = experiment_stage(conf_dir(), file.stem)
        assert (file.stem in listed.replace(",", "").split()) == (its_verb == verb), file.stem
        if its_verb != verb:
            assert cli.run([verb, f"experiment={file.stem}"]) == 2
            assert capsys.readouterr().err.endswith(f" Try groundup {its_verb} experiment={file.stem}\n")
    assert not list(tmp_path.iterdir())


def test_a_budget_is_given_once():
    cfg, choices = compose_with_choices("pretrain", words := ["budget.steps=3", "budget=5epochs"])
    with pytest.raises(UserError, match=r"budget.steps=3 and budget=5epochs: .*Leave out budget.steps=3"):
        preflight("pretrain", cfg, words, choices)


def test_steps_of_a_pipeline_take_overrides_from_the_command_line():
    steps = compose_with_choices("pipeline", ["experiment=demo"])[0].steps
    words = ["pretrain.budget.steps=7", "finetune.size=nano", "+transformer.trainer.profiler=simple"]
    new = changed(steps, words)
    assert new["pretrained"]["overrides"][-1] == "budget.steps=7"
    tuned = [name for name, node in new.items() if "size=nano" in node["overrides"]]
    assert tuned == [name for name, node in steps.items() if node.stage == "finetune"]
    assert new["transformer"]["overrides"][-1] == "+trainer.profiler=simple"
    given = changed(steps, ["finetune.budget.steps=3"])["transformer"]["overrides"]
    assert [word for word in given if "budget" in word] == ["budget.steps=3"]
    given = changed(steps, ["finetune.budget=2epochs"])["transformer"]["overrides"]
    assert [word for word in given if "budget" in word] == ["budget=2epochs"]
    with pytest.raises(UserError, match="STEP is one of pretrained, bag_of_words"):
        changed(steps, ["nobody.size=nano"])
    given = for_steps(["experiment=demo", "pretrain.data.root=a, b", "hydra.run.dir=x"])
    assert given[:2] == ["experiment=demo", "hydra.run.dir=x"]
    assert compose_with_choices("pipeline", given)[0].overrides == ["pretrain.data.root=a, b"]


@pytest.mark.parametrize(
    "flags", [["--config-dir", "{}"], ["--config-dir={}"], ["-cd", "{}"], ["hydra.searchpath=[file://{}]"]]
)
def test_words_for_steps_come_after_those_that_the_experiment_has_for_them(flags, tmp_path):
    (tmp_path / "experiment").mkdir()
    own = "# @package _global_\nsteps: {a: {stage: pretrain}}\noverrides: [seed=2, 'pretrain.data.root=x, y']\n"
    (tmp_path / "experiment" / "own.yaml").write_text(own)
    words = ["experiment=own", *(flag.format(tmp_path) for flag in flags)]
    given = for_steps([*words, "size=nano", "a.seed=3"])
    assert given[-1] == "overrides=['seed=2','pretrain.data.root=x, y','size=nano','a.seed=3']"
    assert given[:-1] == words == for_steps(words)
    new = changed({"a": {"stage": "pretrain"}}, ["seed=2", "pretrain.data.root=x, y", "size=nano", "a.seed=3"])
    assert new["a"]["overrides"] == ["data.root=x, y", "size=nano", "seed=3"]


def test_a_key_without_a_step_is_for_all_steps_that_read_it():
    steps = {
        "linear": {"stage": "baseline", "overrides": ["seed=5", "folds=2"]},
        "network": {"stage": "finetune", "overrides": []},
        "all": {"stage": "ensemble", "overrides": ["members=[{linear},{network}]"]},
    }
    words = [
        "experiment=classifier",
        "budget.minutes=9",
        "data=files",
        "data.train=a.csv",
        "seed=3",
        "threads=1",
        "folds=4",
    ]
    given = for_steps([*words, "network.folds=null", "baseline.data.test=b", "hydra.run.dir=x"])
    assert given[:2] == words[:2] and given[2] == "hydra.run.dir=x" and len(given) == 4
    listed = [word.strip("'") for word in given[3].removeprefix("overrides=[").removesuffix("]").split("','")]
    new = {name: node["overrides"] for name, node in changed(steps, listed).items()}
    shared = ["data=files", "data.train=a.csv", "threads=1"]
    assert new["linear"] == ["seed=5", *shared, "folds=4", "data.test=b"]
    assert new["network"] == ["data=files", "data.train=a.csv", "seed=3", "threads=1", "folds=null"]
    assert new["all"] == ["members=[{linear},{network}]", "threads=1"]  # its data are those of its members


def test_a_learning_curve_runs_again_what_learns_from_labels_and_what_uses_it():
    cfg = compose_with_choices("pipeline", ["experiment=classifier"])[0]
    steps = compose_steps(cfg.steps, Path("all"), cfg.paths)
    again = at_sizes(cfg.steps, steps, [100, "all"], Path("all"), cfg.paths)
    assert [*again] == [f"labelled_100/{name}" for name in steps]  # all rows are what the steps have anyway
    for name, step in again.items():
        assert step.folder == Path("all", name) and step.labelled == 100
        own = steps[name.partition("/")[2]]
        assert step.label == own.label and own.labelled is None
        assert step.config.at("data.labelled") == (None if step.stage == "ensemble" else 100)
    assert again["labelled_100/ensemble"].config.members == [f"all/labelled_100/{name}" for name in [*steps][:-1]]


def test_a_learning_curve_repeats_no_step_that_has_its_size_and_no_pretraining():
    cfg = compose_with_choices("pipeline", ["experiment=demo"])[0]
    steps = compose_steps(cfg.steps, Path("demo"), cfg.paths)
    again = at_sizes(cfg.steps, steps, [200, 1000, "all"], Path("demo"), cfg.paths)
    learning = ["bag_of_words", "transformer", "finetuned"]
    assert [*again] == [f"labelled_{size}/{name}" for size in (200, "all") for name in learning]
    assert {step.config.at("data.labelled") for step in again.values()} == {200, None}
    tuned = [step for step in (*steps.values(), *again.values()) if step.label == "Transformer, pretrained"]
    assert len({step.folder for step in tuned}) == 3
    assert {step.config.init_from for step in tuned} == {"demo/pretrained"}
    assert {step.config.at("data.labelled_seed") for step in tuned} == {1}


def test_a_learning_curve_needs_a_step_that_learns_from_labels():
    steps = {"pretrained": {"stage": "pretrain", "overrides": []}}
    composed = compose_steps(steps, Path("x"), {})
    with pytest.raises(UserError, match="learning_curve: no step learns from labels"):
        at_sizes(steps, composed, [100], Path("x"), {})


def test_a_key_that_no_step_reads_is_refused():
    steps = {"network": {"stage": "finetune", "overrides": []}}
    with pytest.raises(UserError, match="no step reads 'members'"):
        changed(steps, ["members=[a]"])
