"""Evaluations and classical models are W&B runs, too; and speed is told as operations."""

from __future__ import annotations

from pathlib import Path

import pytest
from offline import offline_folders, read_back

from groundup.config.tree import Config
from groundup.runs.folder import RunFolder
from groundup.runs.job import Job
from groundup.stages.logged import log_finished


def logged(folder: Path) -> dict:
    (offline,) = offline_folders(RunFolder(folder))
    return read_back(offline)


@pytest.fixture(scope="module")
def trained(groundup, data_overrides) -> Path:
    """A classifier that W&B knows, from a machine whose peak is one TFLOP/s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("groundup.training.step_logger.peak_of", lambda *_: 1e12)
        return groundup(
            "finetune", *data_overrides, "data.label=subject", "size=nano", "tokenizer=char", "threads=1",
            "budget.steps=10", "validate_every=10", "wandb.mode=offline",
        )  # fmt: skip


def test_an_evaluation_is_told_with_the_run_it_is_of(trained, groundup):
    model = logged(trained)
    found = logged(groundup("evaluate", f"run={trained}", "threads=1", "wandb.group=ours"))
    assert (found["start"].job_type, found["start"].run_group) == ("evaluate", "ours")
    assert found["start"].run_id != model["start"].run_id
    assert found["config"]["began_with_id"] == [model["start"].run_id]
    assert found["config"]["choice"] == model["config"]["choice"]
    assert found["config"]["parameters"] == model["config"]["parameters"]
    summary = found["summary"]
    assert summary["test/accuracy_ci95_low"] <= summary["test/accuracy"] <= summary["test/accuracy_ci95_high"]
    assert summary["test/accuracy"] == pytest.approx(model["summary"]["test/accuracy"])


def test_a_classical_model_is_told_and_of_its_folds_the_whole(groundup, data_overrides):
    words = ["data.label=subject", "baseline=naive_bayes", "threads=1", "wandb.mode=offline"]
    whole = groundup("baseline", *data_overrides, *words, "folds=2")
    found, summary = logged(whole), logged(whole)["summary"]
    assert (found["start"].job_type, found["start"].run_group) == ("baseline", whole.name)
    assert found["config"]["choice"] == {"data": "files", "baseline": "naive_bayes", "task": "classification"}
    for split in ("out_of_fold", "test"):
        low, value, high = (summary[f"{split}/accuracy{end}"] for end in ("_ci95_low", "", "_ci95_high"))
        assert low <= value <= high
    assert summary["baseline/majority class/test/accuracy"] < summary["test/accuracy"] and "folds/accuracy" in summary
    assert not list(whole.glob("fold_*/wandb"))


@pytest.mark.parametrize(
    ("known", "typed", "made"),
    [(False, [], 0), (True, [], 1), (False, ["logger=wandb"], 1), (False, ["run=wandb."], 0)],
)
def test_of_a_run_that_wandb_does_not_know_it_is_told_when_asked(tmp_path, monkeypatch, known, typed, made):
    run, job = RunFolder(tmp_path / "sweep" / "run"), Job("evaluate", RunFolder(tmp_path / "e"), tuple(typed), {})
    run.path.mkdir(parents=True)
    run.set_status("done", job_num=3)
    if known:
        (run.path / "wandb_id").write_text("abc")
    wanted: list[dict] = []
    monkeypatch.setattr("groundup.stages.logged.instantiate", lambda *_, **more: lambda run: wanted.append(more))
    log_finished(Config({"logger": {"wandb": {"_target_": "x"}}}), job, [run])
    assert wanted == [{"group": "sweep"}] * made


def test_the_share_of_the_peak_is_that_of_the_operations(trained):
    found = logged(trained)
    (row,) = [row for row in found["rows"] if "train/mfu" in row]
    assert row["train/mfu"] == pytest.approx(row["train/tflops"])
    flops = 1e12 * row["train/tflops"] / row["train/tokens_per_second"]
    assert 0 < flops <= 6 * found["config"]["parameters"]
