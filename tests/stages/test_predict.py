"""Texts from outside reach a finished run as its own texts did, and leave it whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from groundup import cli
from groundup.config.compose import as_config, compose, resolved
from groundup.decoding.sampling import Sampler
from groundup.stages.evaluate import with_other_data
from groundup.stages.generate import write
from groundup.stages.loading import load_run
from groundup.stages.predict import predict_rows

SMALL = ["size=nano", "tokenizer.vocab_size=300", "wandb.mode=disabled", "threads=1", "data.clean.lowercase=true"]


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


@pytest.fixture(scope="module")
def lower(groundup, data_overrides) -> Path:
    """A classifier of texts that were lower-cased before it saw them."""
    return groundup("finetune", *data_overrides, "data.label=subject", *SMALL, "budget.steps=4", "tokenizer=word")


@pytest.fixture(scope="module")
def lower_writer(groundup, data_overrides) -> Path:
    """A language model of such texts."""
    words = ["model=lstm_decoder", "budget.steps=4", "batching.length=32", "batching.batch_size=8", "tokenizer=word"]
    return groundup("pretrain", *data_overrides, *SMALL, *words)


def test_texts_are_cleaned_as_in_training_whichever_way_they_come_in(lower, tmp_path):
    run = load_run(lower)
    small, large = predict_rows(run, [{"text": "roses and tulips"}, {"text": "Roses AND Tulips"}])
    assert small == large
    (tmp_path / "in.jsonl").write_text('{"review": "Roses AND Tulips"}\n', "utf-8")
    command = ["predict", f"run={lower}", f"input={tmp_path / 'in.jsonl'}", f"output={tmp_path / 'out.jsonl'}"]
    assert cli.run(command) == 0
    (row,) = rows_of(tmp_path / "out.jsonl")
    assert row["review"] == "Roses AND Tulips" and row["probabilities"] == pytest.approx(small["probabilities"])


def test_a_prompt_is_cleaned_as_in_training(lower_writer):
    run = load_run(lower_writer)
    greedy = Sampler(temperature=0, max_new_tokens=5)
    said = ["".join(write(run, prompt, "", greedy, 1)) for prompt in ("the sea", "The SEA")]
    assert said[0] == said[1]


@pytest.mark.parametrize("saved", ["groundup.data.sources.python_docs.PythonDocs", "groundup.data.sources.files.Files"])
@pytest.mark.parametrize("words", [[], ["data=files", "data.label=label"]])
def test_other_data_is_cleaned_as_the_run_cleaned_its_own(saved, words, lower):
    trained = resolved(load_run(lower).config)
    trained["data"] = {"_target_": saved, "clean": trained["data"]["clean"]}
    trained["data"] |= {"name": "topic"} if saved.endswith("PythonDocs") else {"label": "label", "test": "own.csv"}
    words = ["run=x", "data.test=other.csv", *words]
    assert with_other_data(as_config(trained), compose("evaluate", words), words).data.label == "label"
    assert with_other_data(as_config(trained), compose("evaluate", words), words).data.clean.lowercase is True
    words += ["data=files", "data.clean.lowercase=false"]
    assert with_other_data(as_config(trained), compose("evaluate", words), words).data.clean.lowercase is False


def test_baselines_beside_other_data_learn_from_the_train_split_of_the_run(groundup, lower, reviews, read_json):
    own = read_json(groundup("evaluate", f"run={lower}", "split=validation", "baselines=true") / "baselines.json")
    other = groundup("evaluate", f"run={lower}", f"data.test={reviews / 'dev.csv'}", "baselines=true")
    told = read_json(other / "baselines.json")
    assert [metrics["test/accuracy"] for metrics in told.values()] == [
        metrics["validation/accuracy"] for metrics in own.values()
    ]


def test_a_train_file_that_is_gone_is_told_before_the_evaluation(groundup, lower, reviews, tmp_path, capsys):
    moved = shutil.copytree(lower, tmp_path / "run")
    config = (moved / "config.yaml").read_text("utf-8")
    (moved / "config.yaml").write_text(config.replace("train: train.csv", "train: gone.csv"), "utf-8")
    folder = groundup("evaluate", f"run={moved}", f"data.test={reviews / 'dev.csv'}", "baselines=true", code=2)
    assert "gone.csv" in capsys.readouterr().err and not (folder / "metrics.json").exists()
