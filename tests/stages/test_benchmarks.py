"""The benchmarks build a run as the command does, and train it with a hook of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


def test_what_is_timed_trains_as_the_command_does(data_overrides, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    built = pytest.importorskip("built", reason="an installation has no benchmarks")
    overrides = [*data_overrides, "data.label=subject", "size=nano", "tokenizer.vocab_size=300", "threads=1"]
    run = built.build("finetune", [*overrides, "model=bilstm_encoder"], tmp_path / "run", steps=50)
    before = {name: value.clone() for name, value in run.task.state_dict().items()}
    seen = []

    def hook(outputs: object, batch: dict, batch_index: int) -> None:
        seen.append(batch_index)
        if len(seen) == 2:
            raise built.Enough

    run.task.on_train_batch_end = hook
    run.fit()
    assert len(seen) == 2
    assert any(not value.equal(before[name]) for name, value in run.task.state_dict().items())
    sys.modules.pop("built")
