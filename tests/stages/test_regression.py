"""Numbers for pairs of texts by the command: trained from a pretrained run, evaluated, answered and shown."""

from __future__ import annotations

import csv
import json
import random

import pytest

from groundup import cli
from groundup.runs.folder import RunFolder
from groundup.stages.loading import load_run

WORDS = "roses tulips soil flour butter oven harbour sails tide".split()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Files of pairs and how many words both have."""
    folder, draw = tmp_path_factory.mktemp("pairs"), random.Random(0)
    for name, count in {"train": 60, "dev": 20, "test": 20}.items():
        with open(folder / f"{name}.csv", "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["one", "other", "rating"])
            for _ in range(count):
                both = [draw.choices(WORDS, k=draw.randint(1, 6)) for _ in range(2)]
                rows.writerow([*map(" ".join, both), len({*both[0]} & {*both[1]}) / 2])
    return folder


@pytest.fixture(scope="module", params=["pretrained", "language_model"])
def scorer(request, groundup, pairs):
    """A run from a masked, and one from a causal language model."""
    parent = request.getfixturevalue(request.param)
    files = [
        f"data.{split}={name}.csv" for split, name in (("train", "train"), ("validation", "dev"), ("test", "test"))
    ]
    columns = ["data.text=one", "data.text_pair=other"]  # the score has a usual name
    pooling = ["task.pooling=last"] if request.param == "language_model" else []
    return groundup(
        "finetune", "task=regression", "data=files", f"data.root={pairs}", *files, *columns, *pooling, "threads=1",
        "budget.steps=6", f"init_from={parent}", "baselines=true", "wandb.mode=disabled", "monitor=validation/pearson",
    )  # fmt: skip


def test_a_run_tells_its_figures_in_the_unit_of_the_data_beside_the_baselines(scorer):
    run = RunFolder(scorer)
    names = {f"test/{name}" for name in ("pearson", "spearman", "mae", "mse", "loss")}
    assert names <= run.read_json("metrics.json", {}).keys()
    assert list(run.read_json("baselines.json", {})) == ["mean of train", "TF-IDF ridge"]
    rows = run.read_predictions()
    assert len(rows) == 20 and {"text", "text_pair", "score", "predicted"} <= rows[0].keys()
    assert all(-2 < row["predicted"] < 5 for row in rows)
    page = (scorer / "report.html").read_text()
    assert page.count("<circle") >= 20 and "Error by the true score" in page and "Largest mistakes" in page


def test_answers_need_both_texts_and_are_those_of_the_evaluation(scorer, pairs, tmp_path, capsys):
    output = tmp_path / "out.jsonl"
    assert cli.run(["predict", f"run={scorer}", f"input={pairs / 'test.csv'}", f"output={output}"]) == 0
    said = [json.loads(line)["predicted"] for line in output.read_text().splitlines()]
    known = [row["predicted"] for row in RunFolder(scorer).read_predictions()]
    assert said == pytest.approx(known, abs=1e-4)
    run, texts = load_run(scorer), ("soil tide oven", "tide soil")
    one, swapped = run.answer([dict(zip(("text", "text_pair"), pair, strict=True)) for pair in (texts, texts[::-1])])
    assert one["predicted"] == pytest.approx(swapped["predicted"], abs=1e-3)
    (tmp_path / "single.csv").write_text("one\nsoil tide\n")
    assert cli.run(["predict", f"run={scorer}", f"input={tmp_path / 'single.csv'}", f"output={output}"]) == 2
    assert "no column 'other'" in capsys.readouterr().err


def test_a_run_is_evaluated_on_other_scores(scorer, pairs, groundup):
    folder = groundup("evaluate", f"run={scorer}", f"data.test={pairs / 'dev.csv'}", "split=test")
    found = RunFolder(folder).read_json("metrics.json", {})
    own = RunFolder(scorer).read_json("metrics.json", {})
    assert found["test/mae"]["value"] == pytest.approx(own["validation/mae"]["value"], abs=1e-4)
