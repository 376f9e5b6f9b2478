"""Taggers answer for running text, line by line, and for lists of words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from groundup import cli
from groundup.metrics.tagging import judge_tags
from groundup.runs.folder import RunFolder

SENTENCES = ["John lives in New York .", "Mary sees Rome and John .", "王 小 明 在 北 京 。"]
TAGS = ["B-PER O O B-LOC I-LOC O", "B-PER O B-LOC O B-PER O", "B-PER I-PER I-PER O B-LOC I-LOC O"]


@pytest.fixture(scope="module")
def tagger(groundup, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("tags") / "train.conll"
    lines = ["".join(f"{w}\t{t}\n" for w, t in zip(*map(str.split, pair))) for pair in zip(SENTENCES, TAGS)]
    file.write_text("\n".join(lines * 8), "utf-8")
    words = ["model=bilstm_encoder", "model.characters=cnn", "task.crf=true", "tokenizer=word", "budget.steps=40"]
    data = ["data=files", f"data.train={file}", f"data.validation={file}", "optimizer.lr=1e-2"]
    return groundup("finetune", "task=tagging", *data, *words, "size=nano", "wandb.mode=disabled", "threads=1")


def answers(run, source: Path, *options: str) -> list[dict]:
    output = source.with_suffix(".out.jsonl")
    assert cli.run(["predict", f"run={run}", f"input={source}", f"output={output}", *options]) == 0
    return [json.loads(line) for line in output.read_text("utf-8").splitlines()]


def test_lines_of_text_are_cut_into_words_and_entities_have_places_in_the_line(tagger, tmp_path, capsys):
    lines = ["John  lives in New York.", "", "王小明在北京。", "Mary sees Rome"]
    (tmp_path / "in.txt").write_text("\n".join(lines), "utf-8")
    rows = answers(tagger, tmp_path / "in.txt")
    assert [row["text"] for row in rows] == lines and [row["status"] for row in rows] == ["ok", "empty", "ok", "ok"]
    for row in rows:
        assert len(row["words"]) == len(row["predicted"]) == len(row["probabilities"])
        for entity in row["entities"]:
            assert row["text"][entity["start"] : entity["end"]] == entity["text"] and 0 < entity["score"] <= 1
    found = [[(entity["text"], entity["type"]) for entity in row["entities"]] for row in rows]
    assert found[0] == [("John", "PER"), ("New York", "LOC")] and found[2] == [("王小明", "PER"), ("北京", "LOC")]


def test_entities_are_counted_in_the_scheme_that_evaluate_is_given_also_beside_it_and_in_compare(
    tagger, groundup, read_json, capsys
):
    for scheme, f1 in (("iob1", True), ("none", False)):
        folder = groundup("evaluate", f"run={tagger}", f"scheme={scheme}")
        figures, beside = read_json(folder / "metrics.json"), read_json(folder / "baselines.json")
        found = [figures, *beside.values()]
        assert [any(name.endswith("entity_f1") for name in one) for one in found] == [f1] * len(found)
        rows = RunFolder(folder).read_predictions()
        assert {row["scheme"] for row in rows} == {scheme if f1 else None}
        judged = {metric.name: one(np.ones((len(rows), 1)))[0] for metric, one in judge_tags(rows).statistics.items()}
        told = {name.rpartition("/")[2]: one["value"] for name, one in figures.items()}
        assert judged == pytest.approx({name: told[name] for name in judged}) and ("entity_f1" in judged) is f1
    groundup("evaluate", f"run={tagger}", "task.scheme=iob1", code=2)
    assert "There is scheme" in capsys.readouterr().err


def test_words_of_a_column_need_no_tags(tagger, tmp_path, groundup, capsys):
    words = tmp_path / "words.conll"
    words.write_text("Mary\nsees\nNew\nYork\n\nJohn\n", "utf-8")
    first, second = answers(tagger, words)
    assert first["tokens"] == ["Mary", "sees", "New", "York"] and second["tokens"] == ["John"]
    assert len(first["predicted"]) == 4 and first["entities"][0]["text"] == "Mary"
    for verb in (["finetune", "task=tagging", "data=files", f"data.train={words}"], ["evaluate", f"run={tagger}"]):
        capsys.readouterr()
        groundup(*verb, f"data.test={words}", code=2)
        assert "a word a line, and no tags; write a tag behind each word" in capsys.readouterr().err


def test_words_keep_their_number_and_a_column_of_text_may_be_named(tagger, tmp_path, capsys):
    (tmp_path / "words.jsonl").write_text(json.dumps({"tokens": ["Mary", "sees", "New", "York"], "words": 7}))
    (row,) = answers(tagger, tmp_path / "words.jsonl")
    assert row["tokens"] == ["Mary", "sees", "New", "York"] and row["input.words"] == 7 and "words" not in row
    assert (row["entities"][0]["start"], row["entities"][0]["end"]) == (0, 1)
    (tmp_path / "table.csv").write_text("review,n\nMary sees Rome,1\n")
    (row,) = answers(tagger, tmp_path / "table.csv", "text=review")
    assert row["words"] == ["Mary", "sees", "Rome"] and row["entities"][0]["text"] == "Mary"
    (tmp_path / "text.jsonl").write_text('{"text": "Mary sees Rome"}\n')
    assert answers(tagger, tmp_path / "text.jsonl")[0]["entities"] == row["entities"]
    command = ["predict", f"run={tagger}", f"input={tmp_path / 'table.csv'}", f"output={tmp_path / 'x.jsonl'}"]
    assert cli.run(command) == 2 and "no column 'tokens'" in capsys.readouterr().err
