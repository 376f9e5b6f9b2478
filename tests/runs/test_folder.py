from __future__ import annotations

import enum
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from groundup.errors import UserError
from groundup.metrics.estimate import Estimate
from groundup.runs.folder import RunFolder, plain
from groundup.system import files

CONFIG = {
    "lr": 3e-3, "tiny": 1e-5, "text": "1e-3", "yes": "yes", "none": None, "on": True, "date": "2026-03-04", "octal": "010",
    "nested": {"betas": [0.9, 0.95], "empty": {}, "words": ["a: b", "# no comment", "line\nbreak"]}, "标签": "好 看", "inf": float("inf"),
}  # fmt: skip


def test_configuration_comes_back_as_it_was(tmp_path):
    run = RunFolder(tmp_path)
    run.write_config(CONFIG)
    assert run.read_config() == CONFIG
    assert OmegaConf.to_container(OmegaConf.load(run.config_file)) == CONFIG


def test_a_number_typed_by_hand_is_a_number(tmp_path):
    run = RunFolder(tmp_path)
    run.config_file.write_text("lr: 3e-3\nname: 3e-x\n")
    assert run.read_config() == {"lr": 0.003, "name": "3e-x"}


def test_a_run_without_files_has_empty_answers(tmp_path):
    run = RunFolder(tmp_path / "new")
    assert (run.read_config(), run.status(), run.read_predictions(), run.read_json("metrics.json")) == (
        {},
        {},
        [],
        None,
    )


def test_secrets_never_reach_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "value-of-the-environment")
    secrets = {
        "wandb": {"api_key": "k1-very-secret"},
        "hub_token": "k2-very-secret",
        "note": "see value-of-the-environment",
        "url": "https://me:k3-very-secret@host/x",
        "any": "hf_" + "k4" * 20,
        "steps": [{"password": "k5-very-secret"}, "trainer.secret=k6-very-secret", "+hub_token=k7-very-secret"],
    }
    kept = {
        "tokens": 4096,
        "tokenizer": "char",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
        "secret_santa": "a",
        "key": "b",
    }
    run = RunFolder(tmp_path)
    run.write_config({**secrets, **kept})
    run.write_command(["groundup", "pretrain", "wandb.api_key=k8-very-secret", "model.width=64", "a=b c"])
    written = run.config_file.read_text() + run.command.read_text()
    assert "very-secret" not in written
    assert "environment" not in written
    assert "k4k4" not in written
    assert {name: run.read_config()[name] for name in kept} == kept
    assert "model.width=64 'a=b c'" in run.command.read_text()


def test_plain_knows_what_runs_are_made_of(tmp_path):
    import torch

    value = {
        "a": (1, np.float32(0.5)),
        "b": Path("x/y"),
        "c": Estimate(1.0, 0.5, 1.5, 3),
        4: torch.tensor([1, 2]),
        "s": {"b", "a"},
    }
    expected = {"a": [1, 0.5], "b": "x/y", "c": {"value": 1.0, "ci95": [0.5, 1.5], "n": 3}, 4: [1, 2], "s": ["a", "b"]}
    assert plain(value) == expected
    with pytest.raises(TypeError, match="no plain form"):
        plain(object())


def test_json_is_strict(tmp_path):
    run = RunFolder(tmp_path)
    run.write_json("metrics.json", {"x": float("nan"), "y": [float("inf"), 1.0]})
    assert json.loads(run.metrics_json.read_text(), parse_constant=pytest.fail) == {"x": None, "y": [None, 1.0]}


def test_predictions_keep_their_order_and_their_line_separators(tmp_path):
    run = RunFolder(tmp_path)
    rows = [{"text": "a\u2028b\u0085c\r\nd", "n": 1}, {"text": "中文", "n": 2}]
    run.write_predictions(iter(rows))
    assert run.read_predictions() == rows
    assert "中文" in run.predictions.read_text(encoding="utf-8")


@pytest.mark.parametrize("line", ["[1]", "5", "nope", "[" * 100_000])
def test_predictions_are_rows_or_damaged(tmp_path, line):
    run = RunFolder(tmp_path)
    run.predictions.write_text('{"index": 0}\n' + line + "\n")
    with pytest.raises(UserError, match=r"predictions\.jsonl is damaged"):
        run.read_predictions()


def test_status_keeps_the_first_start_and_adds_up_the_time(tmp_path, monkeypatch):
    clock, watch = iter([100.0, 110.0, 500.0, 507.0]), iter([5.0, 15.0, 1.0, 8.0])
    monkeypatch.setattr("groundup.runs.folder.time.time", lambda: next(clock))
    monkeypatch.setattr("groundup.runs.folder.time.monotonic", lambda: next(watch))
    run = RunFolder(tmp_path)
    run.set_status("running", stage="pretrain", step=0)
    run.set_status("failed", why="disk full", step=40)
    assert (run.status()["seconds"], run.status()["ended"], run.status()["why"]) == (10.0, 110.0, "disk full")
    run.set_status("running")
    assert (run.status()["why"], run.status()["ended"]) == (None, None)
    run.set_status("done", step=90)
    status = run.status()
    assert (status["started"], status["resumed"], status["seconds"]) == (100.0, 500.0, 17.0)
    assert (status["stage"], status["step"], status["state"]) == ("pretrain", 90, "done")


def test_a_clock_set_back_does_not_shorten_a_run(tmp_path, monkeypatch):
    clock = iter([7200.0, 0.0, 7200.0, 10.0])
    monkeypatch.setattr("groundup.runs.folder.time.time", lambda: next(clock))
    run = RunFolder(tmp_path)
    for _ in range(2):
        run.set_status("running")
        before = run.status()["seconds"]
        run.set_status("done")
        assert before <= run.status()["seconds"] < before + 5


@pytest.mark.parametrize("pid", [1, 0, -1, True, "1", 1.0, None, [1], 2**70])
def test_a_status_that_names_another_process_is_not_believed(tmp_path, pid):
    """-1 and 0 would stand for all processes; 1 is alive, and not this run."""
    run = RunFolder(tmp_path)
    run.set_status("running")
    run.write_json("status.json", {**run.read_json("status.json"), "pid": pid})
    assert run.status()["state"] == "interrupted"


def test_a_killed_run_is_not_running(tmp_path):
    code = f"import os, signal; from groundup.runs.folder import RunFolder; RunFolder({str(tmp_path)!r}).set_status('running')"
    done = subprocess.run([sys.executable, "-c", code + "; os.kill(os.getpid(), signal.SIGKILL)"], timeout=60)
    assert done.returncode == -9
    assert RunFolder(tmp_path).read_json("status.json")["state"] == "running"
    status = RunFolder(tmp_path).status()
    assert status["state"] == "interrupted"
    assert "without a word" in status["why"]


def test_a_run_on_another_machine_counts_as_running(tmp_path):
    run = RunFolder(tmp_path)
    run.write_json("status.json", {"state": "running", "host": "elsewhere", "pid": 999_999_999})
    assert run.status()["state"] == "running"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    run.write_json("metrics.json", {"a": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UserError, match=r"no space left .* metrics\.json was not written"):
        run.write_json("metrics.json", {"a": 2})
    assert run.read_json("metrics.json") == {"a": 1}
    assert os.listdir(tmp_path) == ["metrics.json"]


def test_a_full_disk_does_not_leave_a_run_running(tmp_path, monkeypatch):
    run, folder = RunFolder(tmp_path / "run"), tmp_path / "run"
    folder.mkdir()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", full)
        with pytest.raises(UserError, match="no space left"):
            run.set_status("running")
        assert os.listdir(folder) == []
    run.set_status("running", stage="finetune")
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", full)
        run.set_status("failed", "no space left", exit_code=2)
        assert run.read_json("status.json")["state"] == "failed" and run.status()["why"] == "no space left"
        with pytest.raises(UserError, match="no space left"):  # more than the file has room for
            run.set_status("done", "x" * 100_000)
    assert run.status()["state"] == "failed" and os.listdir(folder) == ["status.json"]


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path):
    run = RunFolder(tmp_path)
    run.write_json("metrics.json", {"a": 1})
    with open(run.metrics_json) as reader:
        run.write_json("metrics.json", {"a": 22222})
        assert json.load(reader) == {"a": 1}
    assert run.read_json("metrics.json") == {"a": 22222}
    assert os.listdir(tmp_path) == ["metrics.json"]


def test_an_interrupted_write_leaves_nothing_half_written(tmp_path):
    def stop(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), files.replacing(tmp_path / "x.json") as temporary:
        stop(temporary)
    assert os.listdir(tmp_path) == []


def test_other_errors_of_the_disk_stay_what_they_are(tmp_path):
    with pytest.raises(FileNotFoundError), files.replacing(tmp_path / "x.json"):
        pass  # nothing was written


def test_enumerations_are_saved_as_their_values():
    class Kind(enum.Enum):
        A = "a"

    assert plain({"kind": Kind.A}) == {"kind": "a"}


def test_the_folder_imports_nothing_heavy():
    heavy = {"torch", "lightning", "pandas", "numpy", "sklearn", "wandb", "matplotlib", "datasets", "yaml", "omegaconf"}
    code = f"import sys, groundup.runs.folder, groundup.runs.reference; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
