"""The folder of a sweep: one process at a time has it, and what is damaged in it hides nothing else."""

from __future__ import annotations

import csv
import errno
import os
from pathlib import Path

import pytest

from groundup.errors import UserError
from groundup.jobs import gate, sweep
from groundup.jobs.sweep_plan import REFUSED, Plan
from groundup.runs import lock
from groundup.runs.lock import locked


def contents(folder: Path) -> dict[str, bytes]:
    """All but what is Hydra's, and the lock."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name not in ("multirun.yaml", lock.NAME)]
    return {str(file): file.read_bytes() for file in files}


def states(folder: Path) -> dict[str, str]:
    return {row["job"]: row["status"] for row in csv.DictReader((folder / "results.csv").open())}


def begun(toy, *words: str) -> Path:
    """A sweep of two jobs, of which one was refused."""
    assert toy.groundup("pretrain", "-m", "model.width=0,4", "hydra.sweep.dir=sweep", *words) == 2
    return toy.root / "sweep"


def test_a_sweep_that_another_process_has_is_left_alone(toy, capsys, monkeypatch):
    folder = begun(toy)
    before = contents(folder)
    capsys.readouterr()
    monkeypatch.setattr(gate, "check_free", lambda folder, key: None)  # both were typed before there was a folder
    with locked(folder):
        for words in (["resume", "sweep=sweep"], ["pretrain", "-m", "seed=1,2", "hydra.sweep.dir=sweep"]):
            assert toy.groundup(*words) == 2
            said = capsys.readouterr()
            assert (
                said.err
                == f"error: {folder} is being written by process {os.getpid()}. Wait for it, or stop it: kill {os.getpid()}\n"
            )
            assert said.out == "" and contents(folder) == before
    assert toy.groundup("pretrain", "-m", "seed=1,2", "hydra.sweep.dir=sweep") == 2
    assert "another sweep has begun in" in capsys.readouterr().err and contents(folder) == before


@pytest.mark.parametrize(("subdir", "why"), [("x", "is that of job 0, too"), ("../${hydra.job.num}", "is not inside")])
def test_each_job_has_a_folder_of_its_own_inside_that_of_the_sweep(toy, capsys, subdir, why):
    assert toy.groundup("pretrain", "-m", "seed=1,2", f"hydra.sweep.subdir={subdir}", "hydra.sweep.dir=a/sweep") == 2
    assert why in capsys.readouterr().err and not (toy.root / "a" / "sweep").exists()
    assert not [*toy.root.rglob("status.json")]


def test_a_torn_line_about_a_refused_job_is_passed_over(toy):
    folder = begun(toy)
    whole = (folder / REFUSED).read_text()
    assert Plan.read(folder).outcome(0).state == "failed"
    (folder / REFUSED).write_text(whole[: len(whole) // 2])
    assert Plan.read(folder).outcome(0).state == "waiting"
    assert toy.groundup("resume", "sweep=sweep") == 2
    assert states(folder) == {"1": "done", "0": "failed"} and (folder / REFUSED).read_text() == whole


def test_a_damaged_job_hides_no_other_and_a_finished_sweep_gets_its_table_again(toy, capsys):
    assert toy.groundup("pretrain", "-m", "seed=1,2,8", "hydra.sweep.dir=sweep") == 0
    folder = toy.root / "sweep"
    for name, text in (("0", '{"validation/loss": {"value": NaN}}'), ("1", '{"validation/')):
        (folder / name / "metrics.json").write_text(text)
    (folder / "results.csv").unlink()  # the sweep was killed before it could write it
    assert toy.groundup("resume", "sweep=sweep") == 0
    assert "all 3 jobs of" in (said := capsys.readouterr()).err and "metrics.json is damaged" in said.err
    assert list(states(folder)) == ["2", "0", "1"]  # those without a score are last


def test_a_table_that_cannot_be_written_is_shown_all_the_same(toy, capsys, monkeypatch):
    def full(path, text):
        raise UserError(f"no space left on the disk of {path.parent}")

    monkeypatch.setattr(sweep, "write_text", full)
    assert toy.groundup("pretrain", "-m", "seed=1,4", "hydra.sweep.dir=sweep") == 1
    said = capsys.readouterr()
    assert "| 0   | 1    | done " in said.out and "Traceback" not in said.err
    assert said.err.endswith(f"\nno table of the sweep: no space left on the disk of {toy.root / 'sweep'}\n")


def test_a_full_disk_leaves_no_lock(tmp_path, monkeypatch):
    def full(owner):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(lock.json, "dumps", full)
    with pytest.raises(UserError, match="no space left"), locked(tmp_path):
        pass
    assert not [*tmp_path.iterdir()]
