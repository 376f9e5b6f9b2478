"""A run that is killed and resumed ends as one that was never killed: weights, metrics, best checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest
import torch
from child import Child
from seed import SEED

from groundup import cli
from groundup.runs.history import read_metrics
from groundup.training.step_logger import OF_MACHINE

STEPS = 60
PACKED = ["batching.length=16", "batching.batch_size=4"]
CASES = {
    "classification": [
        "finetune", "data.label=subject", "batching.batch_size=4", "num_workers=2", "trainer.accumulate_grad_batches=4",
        "callbacks=[default,ema]", "callbacks.ema.decay=0.9", "model=cnn_encoder", "model.vectors=ppmi", "task.word_dropout=0.2",
    ],
    "masked_lm": ["pretrain", "task=masked_lm", "model=transformer_encoder", "optimizer=muon_adamw", *PACKED],
    "translation": [
        "finetune", "task=translation", "model=lstm_encoder_decoder", "data.source=review", "data.target=review",
        "batching.batch_size=4", "optimizer=muon_adamw", "task.scheduled_sampling=0.2", "task.label_smoothing=0.1",
        "task.pointer=true", "task.validation_rows=4", "task.decoding.max_new_tokens=8",
    ],
    "lstm": ["pretrain", "model=lstm_decoder", "optimizer=adamw", "trainer.accumulate_grad_batches=2", *PACKED],
}  # fmt: skip
EVERYWHERE = [
    f"seed={SEED}",  # in child processes too
    "size=nano", "tokenizer.vocab_size=300", "wandb.mode=disabled", "threads=1", f"budget.steps={STEPS}",
    "validate_every=7", "checkpoint_every=5", "callbacks.step_logger.every=1",
]  # fmt: skip
CLOCKS = OF_MACHINE


def stop_at(process: Child, folder: Path, step: int, number: int) -> None:
    """Sends a signal as soon as metrics.csv shows ``step``."""

    def reached() -> bool:
        rows = read_metrics(folder / "metrics.csv")
        return bool(rows) and rows[-1]["step"] >= step

    process.wait_for(reached)
    process.send_signal(number)
    assert process.wait() in (-number, 75), process.errors()


def tensors(folder: Path, name: str) -> tuple[int, str]:
    """Step of a checkpoint, and the sha256 of all tensors of its model."""
    checkpoint = torch.load(folder / "checkpoints" / name, weights_only=True)
    digest = hashlib.sha256()
    for key, value in sorted(checkpoint["state_dict"].items()):
        digest.update(key.encode() + value.contiguous().view(torch.uint8).numpy().tobytes())
    return checkpoint["global_step"], digest.hexdigest()


def logged(folder: Path) -> list[dict[str, float]]:
    rows = read_metrics(folder / "metrics.csv")
    return [{name: value for name, value in row.items() if name not in CLOCKS} for row in rows]


def assert_same_run(one: Path, other: Path) -> None:
    assert tensors(one, "last.ckpt") == tensors(other, "last.ckpt")
    assert tensors(one, "best.ckpt") == tensors(other, "best.ckpt")
    assert logged(one) == logged(other)
    results = [json.loads((folder / "metrics.json").read_text()) for folder in (one, other)]
    assert results[0] == results[1]
    predictions = [(folder / "predictions.jsonl") for folder in (one, other)]
    assert predictions[0].exists() == predictions[1].exists()
    assert not predictions[0].exists() or predictions[0].read_bytes() == predictions[1].read_bytes()


def state(folder: Path) -> str:
    return json.loads((folder / "status.json").read_text())["state"]


@pytest.fixture(scope="module")
def whole(groundup, data_overrides):
    """The uninterrupted run of a case, made once."""
    made: dict[str, Path] = {}

    def run(case: str) -> Path:
        if case not in made:
            verb, *rest = CASES[case]
            made[case] = groundup(verb, *data_overrides, *rest, *EVERYWHERE)
        return made[case]

    return run


@pytest.fixture(scope="module")
def half(groundup, data_overrides, tmp_path_factory):
    """A run of the LSTM that was asked to stop (SIGTERM) midway."""
    folder = tmp_path_factory.mktemp("half")
    verb, *rest = CASES["lstm"]
    process = Child([verb, *data_overrides, *rest, *EVERYWHERE, f"hydra.run.dir={folder}"], folder)
    stop_at(process, folder, 20, signal.SIGTERM)
    return folder, process.returncode


def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_killed_and_resumed_run_ends_as_one_that_was_not(case, whole, data_overrides, tmp_path):
    expected = whole(case)
    verb, *rest = CASES[case]
    folder = tmp_path / "run"
    process = Child([verb, *data_overrides, *rest, *EVERYWHERE, f"hydra.run.dir={folder}"], folder)
    stop_at(process, folder, random.Random(os.getpid()).randint(8, STEPS - 20), signal.SIGKILL)
    assert tensors(folder, "last.ckpt")[0] < STEPS
    assert not (folder / "metrics.json").exists()
    assert cli.run(["resume", f"run={folder}"]) == 0
    assert state(folder) == "done"
    assert_same_run(folder, expected)


@pytest.mark.slow
def test_sigterm_saves_and_exits_75(half):
    folder, code = half
    assert code == 75
    assert state(folder) == "interrupted"
    step, _ = tensors(folder, "last.ckpt")
    assert 20 <= step < STEPS
    assert logged(folder)[-1]["step"] == step


@pytest.mark.slow
def test_run_stopped_by_a_signal_is_resumed_exactly(half, whole, tmp_path):
    folder = copy(half[0], tmp_path)
    assert cli.run(["resume", f"run={folder}"]) == 0
    assert_same_run(folder, whole("lstm"))


@pytest.mark.slow
def test_damaged_last_checkpoint_falls_back_to_the_one_before(half, whole, tmp_path, capsys):
    folder = copy(half[0], tmp_path)
    last = folder / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 0xFF
    last.write_bytes(content)
    assert cli.run(["resume", f"run={folder}"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "Using previous.ckpt" in line]
    assert len(said) == 1 and "last.ckpt" in said[0]
    assert_same_run(folder, whole("lstm"))


@pytest.mark.slow
@pytest.mark.parametrize("left", [[], ["best.ckpt"]], ids=["nothing", "best only"])
def test_run_killed_before_its_first_checkpoint_begins_again(left, half, whole, tmp_path):
    folder = copy(half[0], tmp_path)
    for file in (folder / "checkpoints").iterdir():
        if file.name not in left:
            file.unlink()
    assert cli.run(["resume", f"run={folder}"]) == 0
    assert_same_run(folder, whole("lstm"))


def test_inherited_weights_are_there_when_a_run_begins_again(groundup, data_overrides, pretrained, tmp_path):
    arguments = [
        "finetune", *data_overrides, "data.label=subject", f"init_from={pretrained}", "budget.steps=4",
        "wandb.mode=disabled", "threads=1",
    ]  # fmt: skip
    expected = groundup(*arguments)
    folder = copy(expected, tmp_path)
    shutil.rmtree(folder / "checkpoints")
    for name in ("metrics.json", "metrics.csv", "predictions.jsonl"):
        (folder / name).unlink()
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "failed"}))
    assert cli.run(["resume", f"run={folder}"]) == 0
    assert_same_run(folder, expected)


def test_a_run_with_adapters_goes_on_without_the_run_that_it_began_with(groundup, data_overrides, pretrained, tmp_path):
    parent = Path(shutil.copytree(pretrained, tmp_path / "parent"))
    expected = groundup(
        "finetune", *data_overrides, "data.label=subject", f"init_from={parent}", "budget.steps=7", "checkpoint_every=4",
        "wandb.mode=disabled", "threads=1", "lora.rank=2", "lora.dropout=0.2", "optimizer=muon_adamw", "layer_decay=0.8",
        "l1=1e-3", "callbacks=[default,ema]",
    )  # fmt: skip
    shutil.rmtree(parent)
    folder = copy(expected, tmp_path)
    (folder / "checkpoints" / "previous.ckpt").replace(folder / "checkpoints" / "last.ckpt")
    assert tensors(folder, "last.ckpt")[0] == 4
    (folder / "metrics.json").unlink()
    status = json.loads((folder / "status.json").read_text())
    (folder / "status.json").write_text(json.dumps({**status, "state": "failed"}))
    assert cli.run(["resume", f"run={folder}"]) == 0
    assert_same_run(folder, expected)


def test_resume_of_a_finished_run_says_so_and_changes_nothing(finetuned, tmp_path, capsys):
    folder = copy(finetuned, tmp_path)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert cli.run(["resume", f"run={folder}", f"hydra.run.dir={tmp_path / 'resume'}"]) == 0
    assert "done already" in "".join(capsys.readouterr())
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


@pytest.mark.slow
def test_resume_names_what_differs_today_and_keeps_what_was_saved(half, whole, tmp_path, monkeypatch, capsys):
    expected = whole("lstm")  # before today's configuration is another
    today = Path(shutil.copytree(cli.conf_dir(), tmp_path / "conf"))
    file = today / "optimizer" / "adamw.yaml"
    file.write_text(file.read_text().replace("lr: 1e-3 ", "lr: 5e-2 "))
    monkeypatch.setenv("GROUNDUP_CONF", str(today))
    folder = copy(half[0], tmp_path)
    assert cli.run(["resume", f"run={folder}"]) == 0
    output = "".join(capsys.readouterr())
    named = [line for line in output.splitlines() if "the saved value is used" in line]
    assert len(named) == 1 and "optimizer.lr: saved 0.001, today 0.05" in named[0]
    assert_same_run(folder, expected)
