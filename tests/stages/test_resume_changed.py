"""A run that goes on longer than planned: the steps before stay, those after follow the schedule that is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from groundup import cli
from groundup.errors import UserError
from groundup.jobs import changes
from groundup.report.listing import Listed
from groundup.runs.folder import RunFolder
from groundup.runs.history import read_metrics
from groundup.runs.reference import newest_runs
from groundup.runs.systems import find_systems
from groundup.system.signals import Interrupted
from groundup.training.schedules import WarmupStableDecay

RATE = 1e-3


@pytest.fixture(scope="module")
def short(groundup, data_overrides) -> Path:
    """Eight steps of warm-up, stable, decay."""
    return groundup(
        "pretrain", *data_overrides, "size=nano", "tokenizer.vocab_size=300", "model=lstm_decoder", "batching.length=16",
        "batching.batch_size=4", "optimizer=adamw", f"optimizer.lr={RATE}", "scheduler=wsd", "budget.steps=8",
        "checkpoint_every=3", "callbacks.step_logger.every=1", "~callbacks.samples", "logger=none", "threads=1",
    )  # fmt: skip


@pytest.fixture(scope="module")
def masked(groundup, data_overrides) -> Path:
    return groundup(
        "pretrain", *data_overrides, "task=masked_lm", "model=transformer_encoder", "size=nano", "tokenizer=char",
        "batching.length=16", "batching.batch_size=4", "budget.steps=8", "checkpoint_every=5", "validate_every=3",
        "callbacks.step_logger.every=1", "logger=none", "threads=1",
    )  # fmt: skip


@pytest.fixture
def folder(short, tmp_path) -> Path:
    return Path(shutil.copytree(short, tmp_path / "run"))


def kill(folder: Path) -> None:
    """Leaves the run as one that died between its last two saves."""
    (folder / "checkpoints" / "previous.ckpt").replace(folder / "checkpoints" / "last.ckpt")
    (folder / "metrics.json").unlink()
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "failed"}))


def weights(folder: Path) -> dict[str, bytes]:
    """Of ``last.ckpt``, to the last bit."""
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return {name: value.contiguous().numpy().tobytes() for name, value in saved.items()}


def training(folder: Path) -> dict[float, tuple[float, float]]:
    """Step -> loss and learning rate."""
    rows = read_metrics(folder / "metrics.csv")
    return {row["step"]: (row["train/loss"], row["train/learning_rate"]) for row in rows if "train/loss" in row}


def test_a_longer_budget_keeps_the_steps_before_and_follows_the_schedule_that_is_named(folder, capsys):
    before = training(folder)
    assert cli.run(["resume", f"run={folder}", "budget=14steps", "scheduler=wsd"]) == 0
    after, run = training(folder), RunFolder(folder)
    assert {step: after[step] for step in before} == before
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE)
    factor = WarmupStableDecay()(optimizer, 14).lr_lambdas[0]
    assert [after[step][1] for step in range(9, 15)] == [
        pytest.approx(RATE * factor(step - 1)) for step in range(9, 15)
    ]
    assert run.read_config()["budget"]["steps"] == 14 and run.status()["state"] == "done"
    (changed,) = run.read_json("provenance.json")["changed"]
    assert changed["step"] == 8 and changed["keys"] == {"budget.steps": [8, 14]}
    assert "budget.steps 8 -> 14" in "".join(capsys.readouterr())
    # Killed in what was added, it goes on as it was changed
    ended = weights(folder)
    kill(folder)
    assert cli.run(["resume", f"run={folder}"]) == 0
    assert training(folder) == after and weights(folder) == ended


def test_another_number_of_workers_is_the_same_run(masked, tmp_path):
    """What is masked is drawn in the workers; what is dropped, here."""
    losses, ended, folder = training(masked), weights(masked), Path(shutil.copytree(masked, tmp_path / "run"))
    scores = (folder / "metrics.json").read_bytes()
    for workers in (2, 0):
        kill(folder)
        assert weights(folder) != ended
        assert cli.run(["resume", f"run={folder}", f"num_workers={workers}"]) == 0
        assert RunFolder(folder).read_config()["num_workers"] == workers
        assert training(folder) == losses and weights(folder) == ended
        assert (folder / "metrics.json").read_bytes() == scores


def test_while_it_trains_again_nobody_takes_the_old_figures_for_its_result(folder, monkeypatch):
    """In the listing, on the page and in a comparison it is a run under way, or one that was interrupted."""
    before, run = (folder / "metrics.json").read_bytes(), RunFolder(folder)

    def look(*_):
        listed = Listed(run)
        assert (listed.about()["state"], listed.score) == ("running", "-")
        assert not run.report.exists() and not run.predictions.exists()
        with pytest.raises(UserError, match=r"has no results yet \(it is running\)"):
            find_systems([str(folder)], folder.parent)
        raise Interrupted("SIGTERM")

    with monkeypatch.context() as patch:
        patch.setattr("groundup.stages.train.run_training", look)
        with pytest.raises(SystemExit):
            cli.run(["resume", f"run={folder}", "budget=14steps", "scheduler=constant"])
    kept = folder / "earlier" / "step_8"
    assert (kept / "metrics.json").read_bytes() == before and (kept / "report.html").exists()
    assert run.status()["state"] == "interrupted" and Listed(run).score == "-"
    assert "<h2>Results</h2>" in (kept / "report.html").read_text() and "<h2>Results</h2>" not in run.report.read_text()
    assert cli.run(["resume", f"run={folder}"]) == 0
    assert run.status()["state"] == "done" and run.metrics_json.read_bytes() != before
    assert Listed(run).score != "-" and newest_runs(folder)[0].path == folder and len(newest_runs(folder)) == 1


@pytest.mark.parametrize("moment", ["write_config", "set_aside"])
def test_killed_while_it_is_changed_it_goes_on(moment, folder, monkeypatch):
    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(*((RunFolder, moment) if moment == "write_config" else (changes, moment)), kill)
        assert cli.run(["resume", f"run={folder}", "budget=14steps", "scheduler=wsd"]) == 130
    assert RunFolder(folder).status()["state"] == "interrupted"
    assert cli.run(["resume", f"run={folder}", "budget=14steps", "scheduler=wsd"]) == 0
    assert RunFolder(folder).status()["state"] == "done" and max(training(folder)) == 14


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["model.dropout=0.2"], "a run goes on with its own configuration"),
        (["max_steps=40"], "no key or group 'max_steps'. Try budget.steps=40"),
        (["optimizer.lr=40"], "a run goes on with its own configuration"),
        (["budget=14steps"], "try scheduler=constant"),
        (["budget=5steps", "scheduler=constant"], "has made 8 steps. Try budget=16steps"),
        (["budget=2epochs", "scheduler=constant"], "Try budget=16steps"),
        (["scheduler=constant", "scheduler.decay=2"], "scheduler"),
        (["num_workers=2"], "is done, so num_workers=2 changes nothing. Try budget=16steps with it"),
    ],
)
def test_what_cannot_go_on_is_a_line_and_changes_nothing(words, line, folder, capsys):
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert cli.run(["resume", f"run={folder}", *words]) == 2
    assert line in capsys.readouterr().err
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_a_rate_that_does_not_jump_needs_no_name(folder):
    """As far as a run has come, a longer one had the same rate: it goes on as if it were planned so."""
    from groundup.jobs.changes import with_changes

    run = RunFolder(folder)
    config = yaml.safe_load(run.config_file.read_text())
    config["scheduler"] = {"_target_": "groundup.training.schedules.Constant", "warmup": 0.0}
    run.write_config(config)
    overrides = [word for word in run.status()["overrides"] if not word.startswith("scheduler")]
    new, now = with_changes(run, "pretrain", overrides, ["budget=14steps"])
    assert new["budget"]["steps"] == 14 and "budget=14steps" in now and "budget.steps=8" not in now
