"""``groundup baseline``: a run folder like any other."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from groundup import cli
from groundup.stages.loading import load_run


@pytest.fixture(scope="module")
def fitted(groundup, data_overrides):
    return groundup("baseline", *data_overrides, "data.label=subject")


def test_the_classical_model_is_measured_and_reported(fitted, read_json):
    metrics, beside = read_json(fitted / "metrics.json"), read_json(fitted / "baselines.json")
    assert metrics["test/accuracy"]["value"] > 0.9 > beside["majority class"]["test/accuracy"]["value"]
    fitted_on_validation = {"validation/temperature", "test/scaled_ece"}
    assert metrics.keys() == beside["majority class"].keys() | fitted_on_validation and "validation/accuracy" in metrics
    report = (fitted / "report.html").read_text()
    assert "majority class" in report and "Confusion matrix" in report


def test_it_evaluates_and_predicts_like_a_network_even_when_moved(fitted, groundup, read_json, tmp_path):
    moved = shutil.copytree(fitted, tmp_path / "moved")
    scored = groundup("evaluate", f"run={moved}", "baselines=true")
    ours = read_json(fitted / "metrics.json")
    assert {f"{name}": ours[name] for name in read_json(scored / "metrics.json")} == read_json(scored / "metrics.json")
    assert "bag-of-words logistic regression" in read_json(scored / "baselines.json")
    (tmp_path / "texts.txt").write_text("roses and tulips\n\nbutter and flour\n")
    words = [f"run={moved}", f"input={tmp_path / 'texts.txt'}", f"output={tmp_path / 'out.jsonl'}"]
    assert cli.run(["predict", *words]) == 0
    said = (tmp_path / "out.jsonl").read_text().splitlines()
    assert '"predicted": "garden"' in said[0] and '"status": "empty"' in said[1] and '"kitchen"' in said[2]
    run = load_run(moved)
    assert np.allclose(run.probabilities([{"text": "roses"}]).sum(), 1)


@pytest.mark.parametrize("recipe", ["naive_bayes", "linear_svm", "words_and_characters"])
def test_every_recipe_of_the_configuration_fits(recipe, groundup, data_overrides, read_json):
    folder = groundup("baseline", *data_overrides, "data.label=subject", f"baseline={recipe}")
    assert read_json(folder / "metrics.json")["test/accuracy"]["value"] > 0.9
    assert load_run(folder).name == recipe.replace("_", " ")


def test_a_task_without_such_a_classifier_has_its_own(groundup, read_json, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"tokens": ["a", "b"], "tags": ["O", "B-X"]}\n' * 4)
    data = ["data=files", f"data.train={tmp_path / 'a.jsonl'}", f"data.test={tmp_path / 'a.jsonl'}", "task=tagging"]
    data += ["data.tokens=tokens", "data.tags=tags", "data.validation_share=null"]
    folder = groundup("baseline", *data)
    assert read_json(folder / "metrics.json")["test/accuracy"]["value"] == 1
    groundup("baseline", *data, "baseline=naive_bayes", code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluate", "run={run}", "data=files", "data.test={other}", "data.text=review", "data.label=subject"], "'moon'"),
        (["generate", "run={run}", "prompt=x"], "holds no network"),
        (["finetune", "init_from={run}"], "holds no network"),
        (["predict", "run={run}", "input={other}", "output=out.txt"], "Try output=out.jsonl"),
    ],
)  # fmt: skip
def test_what_it_cannot_do_is_said_in_one_line(words, message, fitted, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other.csv"
    other.write_text("review,subject\nroses,moon\n")
    assert cli.run([word.format(run=fitted, other=other) for word in words]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_without_its_weights_or_with_others_is_refused(fitted, tmp_path, capsys):
    moved = shutil.copytree(fitted, tmp_path / "moved")
    (moved / "labels.json").write_text('["a", "b"]')
    assert cli.run(["evaluate", f"run={moved}", f"paths.logs={tmp_path}"]) == 2
    assert "baseline.npz is damaged" in capsys.readouterr().err
    (moved / "baseline.npz").unlink()
    assert cli.run(["evaluate", f"run={moved}", f"paths.logs={tmp_path}"]) == 2
    assert "holds no classifier" in capsys.readouterr().err.splitlines()[-1]


def test_a_task_without_a_classical_model_says_so_when_baselines_are_asked_for(groundup, language_model):
    scored = groundup("evaluate", f"run={language_model}", "split=validation", "baselines=true")
    assert "there is no classical model of this task" in (scored / "run.log").read_text(encoding="utf-8")
    assert not (scored / "baselines.json").exists()
