"""``groundup pipeline``: steps in order, one table, and nothing done twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from groundup import cli
from groundup.stages import train
from groundup.training.checkpoints import Checkpoints

SMALL = ["size=nano", "tokenizer.vocab_size=300", "wandb.mode=disabled", "threads=1"]
STEPS = ("body", "bilstm", "tuned")
METRICS = "metrics: [test/accuracy, test/macro_f1]"


def as_yaml(words: list[str]) -> str:
    return json.dumps(words)


@pytest.fixture(scope="module")
def experiments(data_overrides, tmp_path_factory) -> Path:
    """A folder of configurations beside the shipped ones: ``small``, and ``wrong`` whose second step has a mistake."""
    folder = tmp_path_factory.mktemp("own_conf")
    (folder / "experiment").mkdir()
    pretrain = [
        *data_overrides,
        *SMALL,
        "task=masked_lm",
        "model=transformer_encoder",
        "budget.steps=6",
        "batching.length=16",
    ]
    finetune = [*data_overrides, "data.label=subject", "wandb.mode=disabled", "threads=1", "budget.steps=8"]
    random = [*finetune, *SMALL, "model=bilstm_encoder", "baselines=true"]
    for name, last in {"small": [*finetune, "init_from={body}"], "wrong": [*finetune, "model.dropuot=0.3"]}.items():
        text = f"""# @package _global_
steps:
  body: {{stage: pretrain, overrides: {as_yaml(pretrain)}}}
  bilstm: {{stage: finetune, label: "BiLSTM, random weights", overrides: {as_yaml(random)}}}
  tuned: {{stage: finetune, label: "Transformer, pretrained", overrides: {as_yaml(last)}}}
{METRICS}
"""
        (folder / "experiment" / f"{name}.yaml").write_text(text)
    return folder


def pipeline(folder: Path, experiments: Path, name: str = "small") -> int:
    return cli.run(["pipeline", "--config-dir", str(experiments), f"experiment={name}", f"hydra.run.dir={folder}"])


def state(folder: Path) -> str:
    return json.loads((folder / "status.json").read_text())["state"]


@pytest.fixture(scope="module")
def finished(experiments, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    assert pipeline(folder, experiments) == 0
    return folder


def test_table_holds_baselines_and_every_labelled_step(finished):
    table = (finished / "results.md").read_text()
    rows = json.loads((finished / "results.json").read_text())
    assert [*rows][-2:] == ["BiLSTM, random weights", "Transformer, pretrained"]
    assert len(rows) > 3 and "majority" in " ".join(rows)
    assert all(name in table for name in rows)
    assert all({"value", "ci95", "n"} <= row["test/accuracy"].keys() for row in rows.values())
    report = (finished / "report.html").read_text().partition("Configuration")[0]
    assert all(name in report for name in rows)
    assert state(finished) == "done"


def test_step_starts_from_the_run_that_it_names(finished):
    log = (finished / "tuned" / "run.log").read_text()
    assert f"init_from {finished / 'body'}" in log and "17 tensors loaded" in log
    assert (finished / "tuned" / "tokenizer.json").read_bytes() == (finished / "body" / "tokenizer.json").read_bytes()


def test_resumed_pipeline_skips_what_is_done(finished, tmp_path, capsys):
    folder = Path(shutil.copytree(finished, tmp_path / "run"))
    expected = json.loads((folder / "results.json").read_text())
    for name in ("results.json", "results.md"):
        (folder / name).unlink()
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "failed"}))
    before = {file: file.stat().st_mtime_ns for file in folder.glob("*/checkpoints/*")}
    assert cli.run(["resume", f"run={folder}"]) == 0
    assert capsys.readouterr().err.count("done already") == 3
    assert {file: file.stat().st_mtime_ns for file in folder.glob("*/checkpoints/*")} == before
    assert json.loads((folder / "results.json").read_text()) == expected


@pytest.mark.parametrize("moment", ["before training", "while training"])
def test_pipeline_that_failed_goes_on_where_it_stopped(moment, finished, experiments, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "run"
    real = train.run_training

    def fails(cfg, job, *rest):
        if job.folder.path.name == "bilstm":
            raise OSError("the power went out")
        return real(cfg, job, *rest)

    if moment == "while training":
        saved = Checkpoints.on_train_batch_end

        def dies(self, trainer, *rest):
            saved(self, trainer, *rest)
            if "bilstm" in str(self.folder) and trainer.global_step == 5:
                self._save_last(trainer)
                raise OSError("the power went out")

        monkeypatch.setattr(Checkpoints, "on_train_batch_end", dies)
    else:
        monkeypatch.setattr(train, "run_training", fails)
    assert pipeline(folder, experiments) == 1
    assert [state(folder / name) for name in ("body", "bilstm")] == ["done", "failed"]
    assert state(folder) == "failed" and not (folder / "tuned").exists()
    monkeypatch.undo()
    body = (folder / "body" / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    capsys.readouterr()
    assert cli.run(["resume", f"run={folder}"]) == 0
    said = capsys.readouterr().err
    assert said.count("done already") == 1
    assert ("resuming at step 5" in said) == (moment == "while training")
    assert (folder / "body" / "checkpoints" / "last.ckpt").stat().st_mtime_ns == body
    assert json.loads((folder / "results.json").read_text()) == json.loads((finished / "results.json").read_text())


@pytest.fixture(scope="module")
def curve(data_overrides, tmp_path_factory) -> Path:
    """Two classical models on 60 rows, and on 240 (all) and 1,000 (more than there are)."""
    own, folder = tmp_path_factory.mktemp("curve_conf"), tmp_path_factory.mktemp("curve")
    (own / "experiment").mkdir()
    words = [*data_overrides, "data.label=subject", "data.labelled=60"]
    steps = "".join(
        f"  {name}: {{stage: baseline, label: {name}, overrides: {as_yaml([*words, f'baseline={name}'])}}}\n"
        for name in ("bag_of_words", "naive_bayes")
    )
    sizes = "learning_curve: [1000, all]"
    (own / "experiment" / "curve.yaml").write_text(f"# @package _global_\nsteps:\n{steps}{METRICS}\n{sizes}\n")
    assert pipeline(folder, own, "curve") == 0
    return folder


def test_learning_curve_draws_each_label_over_the_rows_it_learned_from(curve):
    trend = json.loads((curve / "sections.json").read_text())[0]["parts"][0]
    assert [*trend["lines"]] == ["bag_of_words", "naive_bayes"]
    for name, points in trend["lines"].items():
        assert [point[0] for point in points] == [60, 240]
        for folder, (_, *drawn) in zip(("", "labelled_all/"), points, strict=True):
            metric = json.loads((curve / folder / name / "metrics.json").read_text())["test/accuracy"]
            assert drawn == [metric["value"], *metric["ci95"]]
    rows = json.loads((curve / "results.json").read_text())
    assert rows["naive_bayes"] == json.loads((curve / "naive_bayes" / "metrics.json").read_text())  # of 60 rows
    assert "there are only 240 labelled rows, so 1000 is left out" in (curve / "run.log").read_text()
    assert not (curve / "labelled_1000").exists()
    said = (curve / "results.md").read_text().split("test/accuracy by number of labelled rows")
    assert len(said) == 2 and [cell.strip() for cell in said[1].split("\n")[2].split("|")[2:-1]] == ["60", "240"]
    assert "labelled rows, logarithmic" in (curve / "report.html").read_text()


def test_learning_curve_takes_columns_with_usual_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{'good' if i % 2 else 'bad'} film {i},{'pos' if i % 2 else 'neg'}\n" for i in range(60))
    (tmp_path / "own.csv").write_text("review,category\n" + rows)
    words = ["data=files", "data.train=own.csv", "data.validation_share=0.5"]
    step = f"{{stage: baseline, label: counts, overrides: {as_yaml(words)}}}"
    own = tmp_path / "conf"
    (own / "experiment").mkdir(parents=True)
    (own / "experiment" / "c.yaml").write_text(
        f"# @package _global_\nsteps: {{a: {step}}}\n{METRICS}\nlearning_curve: [10]\n"
    )
    assert pipeline(tmp_path / "run", own, "c") == 0
    assert (tmp_path / "run" / "labelled_10" / "a" / "metrics.json").is_file()
    assert json.loads((tmp_path / "run" / "steps.json").read_text()) == {"a": "a", "labelled_10/a": "labelled_10/a"}
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert '<a href="a/report.html">a</a>' in page and '<a href="labelled_10/a/report.html">' in page


def test_learning_curve_goes_on_where_it_stopped(curve, tmp_path, capsys):
    folder = Path(shutil.copytree(curve, tmp_path / "run"))
    expected = {name: (folder / name).read_text() for name in ("sections.json", "results.md")}
    for name in expected:
        (folder / name).unlink()
    shutil.rmtree(folder / "labelled_all" / "naive_bayes")
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "failed"}))
    assert cli.run(["resume", f"run={folder}"]) == 0
    assert capsys.readouterr().err.count("done already") == 3
    assert {name: (folder / name).read_text() for name in expected} == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("learning_curve=[2]", "data.labelled=2 is less than one row for each of 3 classes"),
        ("baseline.data.labelled=500", "data.labelled=500: the train split has only 240 labelled rows"),
        ("learning_curve=[0]", "learning_curve"),
        ("learning_curve=[most]", "learning_curve"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_the_first_step(change, message, data_overrides, tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    step = f"{{stage: baseline, label: a, overrides: {as_yaml([*data_overrides, 'data.label=subject'])}}}"
    text = f"# @package _global_\nsteps: {{a: {step}}}\nlearning_curve: [20]\n"
    (tmp_path / "experiment" / "own.yaml").write_text(text)
    words = ["pipeline", "--config-dir", str(tmp_path), "experiment=own", f"hydra.run.dir={tmp_path / 'run'}", change]
    assert cli.run(words) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last
    assert not (tmp_path / "run" / "a").exists()


def test_mistake_in_a_later_step_shows_before_the_first_one_trains(experiments, tmp_path, capsys):
    assert pipeline(tmp_path / "run", experiments, "wrong") == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "model.dropuot" in error and "tuned" in error
    assert not (tmp_path / "run" / "body").exists()


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("{}", "a pipeline needs steps"),
        ("{a: {stage: pretrian, overrides: []}}", "pretrian"),
        ("{a: {stage: finetune, overrides: ['init_from={b}']}, b: {stage: pretrain, overrides: []}}", "{b}"),
        ("{a: {stage: finetune, overrides: ['init_from={nobody}']}}", "nobody"),
        ("{a: {overrides: []}}", "Choose one of: pretrain, finetune"),
        ("{a: {stage: pretrain}, b: {stage: finetune, overrides: [model.dropout=1.5]}}", "step b: model.dropout"),
        ("{a: {stage: pretrain, overrides: [colour=red]}}", "step a: colour"),
    ],
)
def test_steps_that_cannot_work_are_refused_in_one_line(steps, message, tmp_path, capsys):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text(f"# @package _global_\nsteps: {steps}\n")
    assert pipeline(tmp_path / "run", tmp_path, "own") == 2
    output = capsys.readouterr().err.strip().splitlines()
    assert output[-1].startswith("error: ") and message in output[-1]


@pytest.mark.parametrize("word", ["budget.steps=10", "budget=10steps"])
def test_a_budget_that_a_pipeline_does_not_take_is_said_as_its_steps_take_it(word, experiments, tmp_path, capsys):
    here = ["-cd", str(experiments), "experiment=small", f"hydra.run.dir={tmp_path / 'run'}"]
    assert cli.run(["pipeline", *here, word]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    told, _, tries = line.partition(" Try ")
    assert told.startswith("error: budget.steps=10: a pipeline is bounded in minutes")
    own, _, whole = tries.partition(" or ")
    assert whole == "budget.minutes=20" and own.split(", ") == [f"{name}.budget.steps=10" for name in STEPS]
    assert cli.run(["pipeline", *here, *own.split(", "), "--cfg", "job"]) == 0
