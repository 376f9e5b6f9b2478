"""``groundup baseline``: a run folder like any other."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from groundup import cli
from groundup.runs.folder import RunFolder
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


def test_the_most_frequent_class_is_a_run_too(groundup, data_overrides, read_json):
    folder = groundup("baseline", *data_overrides, "data.label=subject", "baseline=majority")
    assert not (folder / "baselines.json").exists() and len(load_run(folder).labels) > 1
    scored = groundup("evaluate", f"run={folder}")
    assert read_json(scored / "metrics.json")["test/accuracy"] == read_json(folder / "metrics.json")["test/accuracy"]


ROWS = {
    "tagging": ({"tokens": ["a", "b"], "tags": ["O", "B-X"]}, "accuracy", "most frequent tag"),
    "regression": ({"text": "a b", "score": 2.5}, "mae", "mean of train"),
    "multilabel": ({"text": "a b", "label": ["x", "y"]}, "micro_f1", "shares of the labels"),
    "summarization": ({"source": "A cat. A dog.", "target": "a cat"}, "rouge_1", "random words"),
    "translation": ({"source": "a", "target": "a"}, "exact_match", None),
    "question_answering": (
        {"question": "Who sat?", "context": "A cat sat. It ran.", "answers": {"text": ["cat"], "answer_start": [2]}},
        "f1",
        "TF-IDF sentence",
    ),
}


@pytest.mark.parametrize("task", ROWS)
def test_each_task_has_its_own_with_answers_and_a_report(task, groundup, read_json, tmp_path):
    row, metric, beside = ROWS[task]
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(row)}\n" * 4)
    columns = [f"data.{name}={name}" for name in row]
    data = ["data=files", f"data.train={tmp_path / 'a.jsonl'}", f"data.test={tmp_path / 'a.jsonl'}", f"task={task}"]
    folder = groundup("baseline", *data, *columns, "data.validation_share=null")
    assert read_json(folder / "metrics.json")[f"test/{metric}"]["n"] > 0
    assert len((folder / "predictions.jsonl").read_text().splitlines()) == 4
    below = read_json(folder / "baselines.json") if beside else {}
    assert [*below] == ([beside] if beside else [])
    assert (folder / "report.html").exists()


def test_the_scheme_of_tags_is_that_of_the_task(groundup, read_json, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"tokens": ["x", "y", "z"], "tags": ["I-a", "O", "B-a"]}\n' * 4)
    data = ["data=files", f"data.train={tmp_path / 'a.jsonl'}", f"data.test={tmp_path / 'a.jsonl'}", "task=tagging"]
    data += ["data.tokens=tokens", "data.tags=tags", "data.validation_share=null"]
    found = {}
    for scheme in ("bio", "none"):
        folder = groundup("baseline", *data, f"task.scheme={scheme}", "baseline=most_frequent_tag")
        found[scheme] = read_json(folder / "metrics.json")
    assert "test/entity_f1" in found["bio"] and "test/entity_f1" not in found["none"]
    (tmp_path / "a.jsonl").write_text('{"tokens": ["x", "y"], "tags": ["S-a", "O"]}\n' * 4)
    refused = groundup("baseline", *data, "task.scheme=bio", code=2)
    assert "task.scheme=bio: the tag 'S-a' is none of it. Try task.scheme=auto" in (refused / "run.log").read_text()


def test_a_language_model_is_scored_on_the_tokens_that_a_network_is_scored_on(groundup, language_model, read_json):
    words = RunFolder(language_model).status()["overrides"]
    data = [word for word in words if word.startswith(("data", "tokenizer"))]
    folder = groundup("baseline", *data, "task=causal_lm", "baseline.order=3")
    ours, theirs = (read_json(one / "metrics.json")["validation/loss"] for one in (folder, language_model))
    assert ours["n"] == theirs["n"] and ours["value"] < theirs["value"]  # that has had 12 steps
    assert [*read_json(folder / "baselines.json")] == ["unigram frequencies"]
    scored = groundup("evaluate", f"run={language_model}", "split=validation", "baselines=true")
    beside = read_json(scored / "baselines.json")
    assert [*beside] == ["unigram frequencies", "Kneser-Ney 5-grams"]
    assert all(one["validation/loss"]["n"] == ours["n"] for one in beside.values())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            "task=tagging baseline=naive_bayes",
            "baseline=naive_bayes is not for task=tagging. Try baseline=hidden_markov or",
        ),
        ("task=masked_lm", "task=masked_lm has no classical model yet"),
        ("baseline=kneser_ney", "baseline=kneser_ney is not for task=classification. Try baseline=bag_of_words or"),
    ],
)
def test_a_model_of_another_task_is_refused_before_there_is_a_folder(words, line, tmp_path, capsys):
    assert cli.run(["baseline", *words.split(), f"paths.logs={tmp_path / 'logs'}"]) == 2
    assert line in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "logs").exists()


def test_rows_without_the_figure_that_was_monitored_are_evaluated_all_the_same(
    groundup, data_overrides, tmp_path, read_json
):
    run = groundup("baseline", *data_overrides, "data.label=subject", "monitor=validation/auroc")
    (tmp_path / "one.csv").write_text("review,subject\nroses,garden\ntulips,garden\n")  # one class: nothing is ranked
    folder = groundup("evaluate", f"run={run}", f"data.test={tmp_path / 'one.csv'}")
    assert "test/accuracy" in (found := read_json(folder / "metrics.json")) and "test/auroc" not in found


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
    assert (
        "holds no classifier: of other classical models only the figures are kept. Use a run of"
        in capsys.readouterr().err.splitlines()[-1]
    )


def test_a_task_without_a_classical_model_says_so_when_baselines_are_asked_for(groundup, pretrained):
    scored = groundup("evaluate", f"run={pretrained}", "split=validation", "baselines=true")
    assert "there is no classical model of this task" in (scored / "run.log").read_text(encoding="utf-8")
    assert not (scored / "baselines.json").exists()
