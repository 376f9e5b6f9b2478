"""``groundup rerun`` and ``groundup promote``: the same run again, and under a name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from groundup import cli
from groundup.config import files
from groundup.config.compose import compose
from groundup.errors import UserError
from groundup.jobs import promote, rerun
from groundup.jobs.sweep_plan import Plan, PlannedJob
from groundup.runs.folder import RunFolder

DATES = {"_target_": "groundup.data.sources.dates.Dates", "seed": 1}
BASE = "data=files data.train=train.csv data.test=test.csv size=nano threads=1 logger=none callbacks=none"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place with data and two finished runs: a network of a few steps, and a classical model."""
    place = tmp_path_factory.mktemp("rerun")
    rows = [f"{'good fine' if i % 2 else 'bad awful'} film number {i},{'pos' if i % 2 else 'neg'}" for i in range(80)]
    (place / "train.csv").write_text("text,label\n" + "\n".join(rows[:60]) + "\n")
    (place / "test.csv").write_text("text,label\n" + "\n".join(rows[60:]) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        words = f"{BASE} model=bag_of_ngrams budget.steps=6 batching.batch_size=16 optimizer.lr=1e-2 seed=3"
        assert cli.run(["finetune", *words.split(), "hydra.run.dir=logs/finetune/films/one"]) == 0
        words = "data=files data.train=train.csv data.test=test.csv threads=1 logger=none hydra.run.dir=logs/baseline/films/two"
        assert cli.run(["baseline", *words.split()]) == 0
    return place


@pytest.mark.parametrize("run", ["finetune/films/one", "baseline/films/two"])
def test_a_rerun_of_the_same_code_has_the_same_figures(run, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert cli.run(["rerun", f"run={run}"]) == 0
    text = capsys.readouterr().out
    assert text.rpartition("identical: ")[2].split()[0] != "0"
    again = sorted((folder / "logs" / Path(run).parent).glob("*_rerun"))[-1]
    old, new = (json.loads((one / "metrics.json").read_text()) for one in (folder / "logs" / run, again))
    assert old == new and RunFolder(again).status()["state"] == "done"


def test_figures_that_differ_are_shown_with_what_else_does(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    run = RunFolder(folder / "logs" / "baseline" / "films" / "two")
    saved, provenance = run.read_json("metrics.json"), run.read_json("provenance.json")
    name = next(iter(saved))
    changed = {**saved, name: {**saved[name], "value": saved[name]["value"] + 0.25}}
    try:
        run.write_json("metrics.json", changed)
        run.write_json("provenance.json", {**provenance, "packages": {**provenance["packages"], "numpy": "0.1"}})
        with pytest.raises(SystemExit) as stop:
            cli.run(["rerun", f"run={run.path}"])
    finally:
        run.write_json("metrics.json", saved)
        run.write_json("provenance.json", provenance)
    assert stop.value.code == 1
    text = capsys.readouterr().out
    assert "not identical: 1 of" in text and "-0.25" in text
    assert "package numpy" in text and "0.1" in text


@pytest.mark.parametrize("run", ["finetune/films/one", "baseline/films/two"])
def test_data_that_is_gone_or_changed_is_told_before_anything_runs(run, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    began = []
    monkeypatch.setattr(rerun, "run_job", lambda *words, **more: began.append(capsys.readouterr().err) or 1 / 0)
    content = (folder / "train.csv").read_text()
    for text in (content, content.replace("awful", "dire"), None):
        (folder / "train.csv").unlink() if text is None else (folder / "train.csv").write_text(text)
        try:
            code = cli.run(["rerun", f"run={run}"])
        finally:
            (folder / "train.csv").write_text(content)
        if text is None:
            line = capsys.readouterr().err.splitlines()[-1]
            assert code == 2 and line.startswith("error: no file train.csv") and line.endswith(" data.train=FILE")
        elif text == content:
            assert "changed since" not in began[0]
        else:
            assert "rows of train and validation, or how they are read, were changed since" in began[1]
            assert f"groundup {run.partition('/')[0]} data=files" in began[1]
    assert len(began) == 2


@pytest.mark.parametrize("record", [None, {"data": {"train": "x", "test": {}}}, {"data": []}, {}])
def test_rows_that_are_not_recorded_are_not_looked_for(record, tmp_path, caplog):
    run = RunFolder(tmp_path)
    for stage, config in (
        ("pipeline", {"steps": {}}),
        ("evaluate", {"run": "x", "data": None}),
        ("baseline", {"data": DATES}),
    ):
        if record is not None:
            run.write_json("provenance.json", record)
        rerun.check_rows(run, stage, config)
    assert bool(caplog.messages) is ("test" in str(record))


def test_only_what_is_done_is_run_again(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    run = RunFolder(folder / "logs" / "broken")
    run.path.mkdir()
    run.write_config({"seed": 1})
    run.set_status("failed", stage="finetune", why="no memory")
    assert cli.run(["rerun", "run=broken"]) == 2
    assert "broken is failed" in capsys.readouterr().err


@pytest.fixture
def own_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of conf/ that may be written."""
    import shutil

    shutil.copytree(files.checkout() / "conf", tmp_path / "conf")
    monkeypatch.setenv("GROUNDUP_CONF", str(tmp_path / "conf"))
    return tmp_path / "conf"


def test_an_experiment_composes_to_what_the_run_was(folder, own_conf, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert cli.run(["promote", "run=finetune/films/one", "name=best_films"]) == 0
    text = (own_conf / "experiment" / "best_films.yaml").read_text()
    assert "groundup finetune experiment=best_films" in capsys.readouterr().out
    assert "# test/accuracy" in text and "# groundup finetune data=files" in text and "# code: " in text
    found = yaml.safe_load(text)
    assert found["stage"] == "finetune" and {"override /model": "bag_of_ngrams"} in found["defaults"]
    today = compose("finetune", ["experiment=best_films"])
    assert (today.optimizer.lr, today.seed, today.budget.steps, today.budget.epochs) == (1e-2, 3, 6, None)
    assert today.data.train == "train.csv" and today.logger == {}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["run=finetune/films/one", "name=demo"], "demo.yaml is there already"),
        (["run=finetune/films/one", "name=../evil"], "Try name=_evil"),
        (["name=x"], "one of run=RUN and sweep=SWEEP"),
        (["run=broken", "name=x"], "broken is failed"),
    ],
)
def test_what_cannot_be_promoted_is_a_line(words, line, folder, own_conf, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    run = RunFolder(folder / "logs" / "broken")
    run.write_config({"seed": 1})
    run.set_status("failed", stage="finetune", why="no memory")
    before = sorted((own_conf / "experiment").iterdir())
    assert cli.run(["promote", *words]) == 2
    assert line in capsys.readouterr().err
    assert sorted((own_conf / "experiment").iterdir()) == before


def test_a_promotion_that_is_killed_leaves_no_experiment(folder, own_conf, monkeypatch):
    monkeypatch.chdir(folder)
    composed = promote.compose

    def killed(stage, words):
        if words[0].startswith("experiment="):
            assert not (own_conf / "experiment" / "x.yaml").exists()  # whoever looks now finds none
            raise KeyboardInterrupt
        return composed(stage, words)

    before = sorted((own_conf / "experiment").iterdir())
    monkeypatch.setattr(promote, "compose", killed)
    assert cli.run(["promote", "run=finetune/films/one", "name=x"]) == 130
    assert sorted((own_conf / "experiment").iterdir()) == before


@pytest.mark.parametrize(("state", "line"), [("done", "no job has validation/loss"), ("failed", "no job is done")])
def test_a_sweep_without_a_best_says_why(tmp_path, state, line):
    plan = Plan(tmp_path, "pretrain", {})
    plan.add(PlannedJob(0, "0", [], {}, {"monitor": "validation/loss"}))
    plan.save()
    plan.run(0).path.mkdir()
    plan.run(0).set_status(state, pruned=3)
    (tmp_path / "0" / "metrics.json").write_text('{"validation/loss": {"value": NaN}}')
    with pytest.raises(UserError, match=line):
        promote.best_of(tmp_path)


def test_of_equal_jobs_the_first_is_the_best_and_it_is_said(tmp_path, caplog):
    plan = Plan(tmp_path, "pretrain", {})
    for number, loss in enumerate([2.0, 1.0, 3.0, 1.0]):
        plan.add(PlannedJob(number, str(number), [], {}, {"monitor": "validation/loss", "monitor_mode": "min"}))
        plan.run(number).path.mkdir()
        plan.run(number).set_status("done")
        plan.run(number).write_json("metrics.json", {"validation/loss": {"value": loss}})
    plan.save()
    assert promote.best_of(tmp_path).path == tmp_path / "1"
    (said,) = caplog.messages
    assert said.startswith("jobs 1 and 3 have the same validation/loss") and said.endswith("/3")


def test_the_best_of_a_sweep_is_promoted(folder, own_conf, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    words = (
        "data=files data.train=train.csv data.validation=test.csv threads=1 monitor=validation/loss baseline.C=1e-9,10"
    )
    assert cli.run(["baseline", "-m", *words.split(), "logger=none", "hydra.sweep.dir=logs/baseline/multirun/one"]) == 0
    assert cli.run(["promote", "sweep=logs/baseline/multirun/one", "name=best_c"]) == 0
    capsys.readouterr()
    assert compose("baseline", ["experiment=best_c"]).baseline.C == 10
