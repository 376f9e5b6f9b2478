"""Options of a run that change how it trains, each held to what it promises."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
from seed import SEED

from groundup import cli
from groundup.runs.history import read_metrics
from groundup.stages.loading import load_run
from groundup.training.step_logger import OF_MACHINE

SMALL = ["size=nano", "tokenizer.vocab_size=300", "wandb.mode=disabled", "threads=1", "callbacks.step_logger.every=1"]
CLOCKS = {*OF_MACHINE}


@pytest.fixture(scope="module")
def finetune(groundup, data_overrides):
    """A short fine-tuning with more options."""
    return lambda *more, **words: groundup(
        "finetune", *data_overrides, "data.label=subject", *SMALL, "budget.steps=6", *more, **words
    )


@pytest.fixture(scope="module")
def plain_run(finetune) -> Path:
    return finetune()


def weights(folder: Path, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]


def figures(folder: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in CLOCKS} for row in read_metrics(folder / "metrics.csv")]


def assert_identical(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert figures(one) == figures(other)


@pytest.mark.parametrize("verb", ["finetune", "pretrain"])
def test_streamed_rows_train_as_rows_in_memory(verb, groundup, data_overrides):
    more = ["data.label=subject"] if verb == "finetune" else ["batching.length=16"]
    arguments = [verb, *data_overrides, *more, *SMALL, "budget.steps=6"]
    assert_identical(groundup(*arguments, "data.streaming=true"), groundup(*arguments))


def test_workers_change_nothing(finetune, plain_run):
    assert_identical(finetune("num_workers=2"), plain_run)


def test_seed_changes_order_and_weights(finetune, plain_run):
    other = finetune(f"seed={SEED + 1}")
    assert not torch.equal(weights(other)["head.linear.weight"], weights(plain_run)["head.linear.weight"])


def test_same_command_twice_gives_the_same_weights(finetune, plain_run):
    assert_identical(finetune(), plain_run)


def test_compiled_model_trains_alike_and_saves_under_the_same_names(finetune, plain_run, monkeypatch):
    compiled = []

    def traced(module, **options):  # traced, but not translated to C++, which takes a minute and other random numbers
        compiled.append(type(module).__name__)
        real(module, backend="eager", **options)

    real = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", traced)
    folder = finetune("compile=true")
    assert compiled == ["TransformerEncoder"]
    ours, theirs = weights(folder), weights(plain_run)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-4, rtol=1e-3, msg=name)
    assert load_run(folder).task.state_dict().keys() == ours.keys()


def test_bfloat16_trains_and_keeps_weights_in_full_precision(finetune, plain_run):
    mixed = finetune("trainer.precision=bf16-mixed")
    assert {value.dtype for value in weights(mixed).values()} == {torch.float32}
    rows = list(zip(figures(mixed), figures(plain_run), strict=True))
    assert all(ours["train/loss"] == pytest.approx(theirs["train/loss"], rel=0.05) for ours, theirs in rows)
    assert any(ours["train/loss"] != theirs["train/loss"] for ours, theirs in rows)


def test_frozen_body_stays_as_it_was_loaded(groundup, data_overrides, pretrained):
    arguments = ["finetune", *data_overrides, "data.label=subject", f"init_from={pretrained}", "wandb.mode=disabled"]
    frozen = groundup(*arguments, "budget.steps=5", "callbacks=[default,freeze]")
    thawed = groundup(*arguments, "budget.steps=5", "callbacks=[default,freeze]", "callbacks.freeze.until=3")
    start = load_run(pretrained).task.state_dict()
    body = [name for name in start if name.startswith("model.")]
    assert body and all(torch.equal(weights(frozen)[name], start[name]) for name in body)
    assert not any(torch.equal(weights(thawed)[name], start[name]) for name in body)
    assert weights(frozen)["head.linear.weight"].std() > 0


def test_layer_decay_slows_the_lower_layers(finetune):
    def moved(name: str, *options: str) -> float:
        options = (
            *options,
            "scheduler=constant",
            "optimizer.weight_decay=0",
            "budget.steps=2",
            "trainer.gradient_clip_val=null",
        )
        before, after = finetune(*options, "optimizer.lr=1e-30"), finetune(*options)
        return float((weights(after)[name] - weights(before)[name]).norm())

    for name, share in {"model.embedding.weight": 0.1**3, "head.linear.weight": 1.0}.items():
        assert moved(name, "layer_decay=0.1") == pytest.approx(share * moved(name), rel=0.25)


def test_l1_moves_matrices_towards_zero_and_leaves_the_rest(finetune):
    options = (
        "trainer.gradient_clip_val=null",
        "optimizer=sgd",
        "scheduler=constant",
        "optimizer.momentum=0",
        "optimizer.nesterov=false",
    )
    one_step = [*options, "budget.steps=1", "optimizer.lr=0.01"]
    plain, sparse = weights(finetune(*one_step)), weights(finetune(*one_step, "l1=0.5"))
    assert torch.equal(plain["model.embedding.weight"], sparse["model.embedding.weight"])
    expected = torch.nn.functional.softshrink(plain["head.linear.weight"], 0.01 * 0.5)
    torch.testing.assert_close(sparse["head.linear.weight"], expected)


def test_budget_in_tokens_and_in_epochs_is_counted_in_steps(finetune, read_json):
    # 240 rows in batches of 32 are 8 steps
    assert read_last_step(finetune("budget.steps=null", "budget.epochs=0.5")) == 4
    assert read_last_step(finetune("budget.steps=null", "budget.epochs=1", "trainer.accumulate_grad_batches=2")) == 4
    tokens = read_json(finetune("budget.steps=8") / "provenance.json")["data"]["train"]["tokens"]
    assert read_last_step(finetune("budget.steps=null", f"budget.tokens={tokens}")) == 8


def read_last_step(folder: Path) -> int:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]


def test_budget_in_minutes_is_measured_and_trains(finetune):
    """However fast the machine is: a longer budget gives more steps."""
    short, long = (
        read_last_step(finetune("budget.steps=null", f"budget.minutes={minutes}", "callbacks.step_logger.every=1000"))
        for minutes in (0.001, 0.05)
    )
    assert 1 <= short < long


def test_early_stopping_ends_a_run_that_no_longer_improves(finetune, read_json):
    folder = finetune(
        "budget.steps=200", "validate_every=2", "optimizer.lr=1e-30", "callbacks=[default,early_stopping]",
        "callbacks.early_stopping.patience=2", "callbacks.early_stopping.min_delta=0.1",
    )  # fmt: skip
    assert read_last_step(folder) == 6
    assert read_json(folder / "status.json")["state"] == "done"


def test_monitor_names_the_metric_that_picks_the_best(finetune):
    folder = finetune("monitor=validation/accuracy", "validate_every=1", "optimizer.lr=1e-2")
    rows = [row for row in figures(folder) if "validation/accuracy" in row]
    best = max(rows, key=lambda row: (row["validation/accuracy"], -row["step"]))
    assert torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == best["step"]


@pytest.mark.parametrize("callbacks", ["none", "early_stopping"])
def test_no_choice_of_callbacks_leaves_a_run_without_checkpoints(groundup, data_overrides, read_json, callbacks):
    arguments = ["finetune", *data_overrides, "data.label=subject", *SMALL[:-1], f"callbacks={callbacks}"]
    folder = groundup(*arguments, "budget.steps=4", "checkpoint_every=2")
    kept = {name: torch.load(folder / "checkpoints" / name)["global_step"] for name in ("last.ckpt", "previous.ckpt")}
    assert kept == {"last.ckpt": 4, "previous.ckpt": 2}
    assert "test/accuracy" in read_json(folder / "metrics.json")


def test_limits_of_batches_hold_for_the_last_pass_too(groundup, data_overrides, read_json):
    arguments = ["finetune", *data_overrides, "data.label=subject", *SMALL, "budget.steps=2", "batching.batch_size=8"]
    folder = groundup(*arguments, "+trainer.limit_val_batches=3", "+trainer.limit_test_batches=0.5")
    results = read_json(folder / "metrics.json")
    assert 0 < results["validation/accuracy"]["n"] <= 3 * 8  # of 60 rows in batches of 8
    assert 0 < results["test/accuracy"]["n"] <= 5 * 8  # of 80
    assert "limit_val_batches=3, so not all of it is evaluated" in (folder / "run.log").read_text()
    folder = groundup(*arguments, "+trainer.limit_val_batches=0", "+trainer.limit_test_batches=1")
    results = read_json(folder / "metrics.json")
    assert 0 < results["test/accuracy"]["n"] <= 8 and "validation/accuracy" not in results
    less = [f"+trainer.limit_{name}_batches=0.01" for name in ("train", "val", "test")]
    folder = groundup(*arguments, *less)  # less than one batch is one
    found = read_json(folder / "metrics.json")
    assert 0 < found["validation/accuracy"]["n"] <= 8 and 0 < found["test/accuracy"]["n"] <= 8
    assert "limit_val_batches=0.01 of 8 batches is less than one: it is one" in (folder / "run.log").read_text()


def test_unknown_monitor_is_named_with_what_there_is(data_overrides, tmp_path, capsys):
    command = [
        "finetune",
        *data_overrides,
        "data.label=subject",
        *SMALL,
        "budget.steps=3",
        "monitor=validation/acuracy",
    ]
    assert cli.run([*command, f"hydra.run.dir={tmp_path}"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ") and "validation/acuracy" in said and "validation/accuracy" in said


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=False)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk needs root")
def test_full_disk_while_saving_is_one_line_and_keeps_the_last_good_checkpoint(data_overrides, small_disk, capsys):
    folder, filler = small_disk / "run", small_disk / "filler"
    command = ["finetune", *data_overrides, "data.label=subject", *SMALL, f"hydra.run.dir={folder}", "threads=1"]
    filler.write_bytes(b"x" * 250_000)  # the first checkpoint (0.4 MB) fits, the second does not fit beside it
    assert cli.run([*command, "budget.steps=20", "checkpoint_every=5", "validate_every=20"]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: disk full while saving") and "groundup resume run=" in error[-1]
    assert "Traceback" not in "\n".join(error)
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 5
    assert [file.name for file in (folder / "checkpoints").iterdir() if file.suffix == ".tmp"] == []
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["exit_code"]) == ("failed", 2)


def test_rows_of_a_csv_may_be_zipped(groundup, reviews, tmp_path):
    import gzip

    for name in ("train", "dev"):
        (tmp_path / f"{name}.csv.gz").write_bytes(gzip.compress((reviews / f"{name}.csv").read_bytes()))
    folder = groundup(
        "finetune", "data=files", f"data.root={tmp_path}", "data.train=train.csv.gz", "data.validation=dev.csv.gz",
        "data.text=review", "data.label=subject", *SMALL, "budget.steps=2",
    )  # fmt: skip
    with open(reviews / "dev.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    predictions = [json.loads(line) for line in (folder / "predictions.jsonl").read_text("utf-8").splitlines()]
    assert [row["text"] for row in predictions] == [row["review"] for row in rows]
