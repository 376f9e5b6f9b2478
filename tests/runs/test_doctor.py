"""``groundup doctor``: what works is said, what does not has its mend, and the exit code tells."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from groundup import cli
from groundup.jobs import doctor


def told(capsys: pytest.CaptureFixture, *words: str, code: int = 0) -> dict[str, str]:
    """First word of each finding by what it is about; the last one counts."""
    try:
        found = cli.run(["doctor", *words])
    except SystemExit as stop:
        found = stop.code
    assert found == code
    lines = [line.split(maxsplit=2) for line in capsys.readouterr().out.splitlines() if line[:1] != " "]
    return {about: state for state, about, _ in lines}


def test_this_machine_is_well(tmp_path, capsys):
    states = told(capsys, "training=false", f"paths.logs={tmp_path}")
    assert {"groundup", "cpu", "gpu", "logs", "cache", "conf", "wandb"} <= states.keys()
    assert "broken" not in states.values()


def test_a_tiny_model_is_trained_and_learns(tmp_path, capsys):
    assert told(capsys, f"paths.logs={tmp_path}")["training"] == "ok"


def test_a_package_that_is_missing_or_too_old_is_broken(monkeypatch):
    monkeypatch.setattr(
        doctor.metadata, "requires", lambda name: ["torch>=99", "no-such-package", "idle; extra == 'x'"]
    )
    last = list(doctor.packages())[-1]
    assert last.state == "broken" and last.mend
    assert "torch" in last.said and "no-such-package is missing" in last.said and "idle" not in last.said


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_broken(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert next(doctor.disk(tmp_path / "logs")).state == "broken"


def test_a_full_disk_is_worth_a_look(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12 - 10**8, 10**8))
    assert {finding.state for finding in doctor.disk(tmp_path)} == {"look"}


def test_a_training_that_dies_is_broken_with_its_last_line(tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho Illegal instruction >&2\nexit 132\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    (finding,) = doctor.training()
    assert finding.state == "broken" and "exit code 132: Illegal instruction" in finding.said
    assert finding.mend == doctor.MEND


def test_something_broken_is_the_exit_code(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(doctor, "packages", lambda: iter([doctor.Finding("packages", "old", "broken", "make install")]))
    assert told(capsys, "training=false", f"paths.logs={tmp_path}", code=1)["packages"] == "broken"


def test_a_folder_called_wandb_that_hides_the_package_is_broken(tmp_path, monkeypatch):
    import wandb

    monkeypatch.delattr(wandb, "init")
    (finding,) = doctor.weights_and_biases(Path(tmp_path))
    assert finding.state == "broken" and "wandb/" in finding.mend
