"""``experiment=classifier``: own files in, one run that answers out, with no setting by hand."""

from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from groundup import cli
from groundup.stages.loading import load_run

QUICK = [
    "folds=2",
    "network.budget.steps=3",
    "network.model.width=12",
    "network.model.vectors=null",
    "threads=1",
    "logger=none",
]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    """Three rows of each of three classes, one of which stands there twice; a test row that is in train, too."""
    folder = tmp_path_factory.mktemp("own")
    rows = [
        f"{word} {number},{label}" for label, word in (("a", "sky"), ("b", "sea"), ("c", "oak")) for number in (1, 2, 3)
    ]
    (folder / "own.csv").write_text("\n".join(["text,label", *rows, rows[0]]) + "\n")
    (folder / "test.csv").write_text(f"text,label\n{rows[0]}\nsea 9,b\noak 8,c\n")
    words = ["data=files", f"data.train={folder / 'own.csv'}", f"data.test={folder / 'test.csv'}", "budget.minutes=5"]
    with redirect_stdout(io.StringIO()) as printed:
        assert cli.run(["pipeline", "experiment=classifier", *words, *QUICK, f"hydra.run.dir={folder / 'run'}"]) == 0
    (folder / "printed.txt").write_text(printed.getvalue())
    return folder / "run"


def test_the_table_has_the_baselines_every_expert_and_all_together(pipeline):
    rows = json.loads((pipeline / "results.json").read_text())
    network = "CNNEncoder, 2 folds"
    linear = {"bag of words", "naive bayes", "words and characters", "surface"}
    assert linear | {"majority class", network, "all together"} == {*rows}
    assert all("test/accuracy" in row and "out_of_fold/accuracy" in row for row in rows.values())
    assert "test: 1 of 3 rows also stand in train" in (pipeline / "ensemble" / "run.log").read_text()


def test_the_table_of_the_only_step_with_a_label_is_printed_once(pipeline):
    lines = (pipeline.parent / "printed.txt").read_text().splitlines()
    assert len([line for line in lines if re.match(r"\W+all together\W", line)]) == 1
    assert "**" in (pipeline / "results.md").read_text()


def test_the_pipeline_evaluates_and_predicts_as_its_last_step_does(pipeline, groundup, read_json, tmp_path):
    scored = read_json(groundup("evaluate", f"run={pipeline}") / "metrics.json")
    expected = read_json(pipeline / "ensemble" / "metrics.json")
    assert scored == {name: expected[name] for name in scored}
    assert load_run(pipeline).folder.path == pipeline / "ensemble"
    (tmp_path / "in.txt").write_text("sky 5\n")
    assert cli.run(["predict", f"run={pipeline}", f"input={tmp_path}/in.txt", f"output={tmp_path}/out.jsonl"]) == 0


def test_every_row_was_held_out_by_every_expert(pipeline):
    for step in ("bag_of_words", "network", "ensemble"):
        lines = [json.loads(line) for line in (pipeline / step / "out_of_fold.jsonl").read_text().splitlines()]
        assert [line["index"] for line in lines] == list(range(10))
        folds = [line["fold"] for line in lines if line["text"] == "sky 1"]
        assert len(folds) == 2 and len({*folds}) == 1
