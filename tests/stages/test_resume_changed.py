"""A run that goes on longer than planned: the steps before stay, those after follow the schedule that is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from groundup import cli
from groundup.runs.folder import RunFolder
from groundup.runs.history import read_metrics
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


@pytest.fixture
def folder(short, tmp_path) -> Path:
    return Path(shutil.copytree(short, tmp_path / "run"))


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
    last = folder / "checkpoints" / "last.ckpt"
    weights = torch.load(last, weights_only=True)["state_dict"]
    (folder / "checkpoints" / "previous.ckpt").replace(last)
    (folder / "metrics.json").unlink()
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "failed"}))
    assert cli.run(["resume", f"run={folder}"]) == 0
    assert training(folder) == after
    again = torch.load(last, weights_only=True)["state_dict"]
    assert all(torch.equal(value, again[name]) for name, value in weights.items())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["model.dropout=0.2"], "a run goes on with its own configuration"),
        (["budget=14steps"], "try scheduler=constant"),
        (["budget=5steps", "scheduler=constant"], "has made 8 steps. Try budget=16steps"),
        (["budget=2epochs", "scheduler=constant"], "Try budget=16steps"),
        (["scheduler=constant", "scheduler.decay=2"], "scheduler"),
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
