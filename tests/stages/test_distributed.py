"""Two processes on one machine (gloo): the same training as one process with twice the micro-batches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from groundup.runs.metrics_csv import read_metrics

EVERYWHERE = [
    "size=nano", "tokenizer.vocab_size=300", "wandb.mode=disabled", "threads=1", "batching.batch_size=4",
    "budget.steps=9", "validate_every=3", "optimizer=adamw", "scheduler=constant",
    "checkpoint_every=4", "callbacks.step_logger.every=1",
]  # fmt: skip
VERBS = {
    "ddp": ["finetune", "data.label=subject", "task.dropout=0", "model.dropout=0"],
    "ddp, translation": [
        "finetune",
        "task=translation",
        "data.source=review",
        "data.target=review",
        "model.encoder.dropout=0",
        "model.decoder.dropout=0",
        "task.pointer=true",
        "task.validation_rows=5",
        "task.decoding.max_new_tokens=8",
    ],
    "fsdp": [
        "pretrain",
        "batching.length=16",
        "model.dropout=0",
        "~callbacks.samples",
    ],  # a tied head, in another part than its matrix
}
TWO = {
    "ddp": ["trainer=ddp", "trainer.accelerator=cpu"],
    "ddp, translation": ["trainer=ddp", "trainer.accelerator=cpu"],
    "fsdp": [
        "trainer=fsdp", "trainer.accelerator=cpu", "trainer.precision=32-true",
        "+trainer.strategy.process_group_backend=gloo",
    ],
}  # fmt: skip


def command_line(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "groundup", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=240)


def weights(folder: Path, name: str = "best.ckpt") -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]


def assert_same_training(several: Path, one: Path) -> None:
    for name in ("best.ckpt", "last.ckpt"):
        theirs, ours = weights(several, name), weights(one, name)
        assert theirs.keys() == ours.keys()
        for key, value in ours.items():
            torch.testing.assert_close(theirs[key], value, atol=1e-5, rtol=1e-4, msg=f"{name}: {key}")
    rows = read_metrics(several / "metrics.csv"), read_metrics(one / "metrics.csv")
    for theirs, ours in zip(*rows, strict=True):
        assert theirs.keys() == ours.keys()
        for metric in ours.keys() - {"train/tokens_per_second"}:
            assert theirs[metric] == pytest.approx(ours[metric], rel=1e-4, abs=1e-5), metric
    results = [json.loads((folder / "metrics.json").read_text()) for folder in (several, one)]
    assert results[0].keys() == results[1].keys()
    for metric, ours in results[1].items():
        assert results[0][metric]["value"] == pytest.approx(ours["value"], rel=1e-4, abs=1e-5), metric


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TWO)
def test_two_processes_train_as_one(trainer, groundup, data_overrides, tmp_path):
    arguments = [*VERBS[trainer], *data_overrides, *EVERYWHERE]
    logs = tmp_path / "logs"
    done = command_line(*arguments, *TWO[trainer], f"paths.logs={logs}")
    assert done.returncode == 0, done.stderr
    (folder,) = [path.parent for path in logs.rglob("status.json")]  # the second process made none of its own
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["stage"]) == ("done", VERBS[trainer][0])
    assert_same_training(folder, groundup(*arguments, "trainer.accumulate_grad_batches=2"))
    assert len(list(folder.rglob("report.html"))) == 1
    assert done.stderr.count("budget: 9 steps") == 1
