"""Real signals to real processes, at every moment of a run: what they leave, what they say, and that it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from child import Child

from groundup import cli
from groundup.runs.folder import RunFolder

SMALL = [
    "size=nano", "tokenizer.vocab_size=300", "wandb.mode=disabled", "threads=1", "budget.steps=8", "validate_every=8",
    "checkpoint_every=100",
]  # fmt: skip
# At one place it says where it is and waits.
WAITS = """
import time
from groundup.data.text_data import TextData
from groundup.jobs import preflight
from groundup.tasks.base import Task
from groundup.stages import evaluation

place, name, seconds = {
    "start": (preflight, "preflight", 60),
    "data": (TextData, "prepare", 60),
    "training": (Task, "training_step", 1),
    "evaluation": (evaluation, "evaluate", 60),
}["%s"]
real = getattr(place, name)

def slow(*arguments, **more):
    setattr(place, name, real)  # once
    print("HERE", flush=True)
    time.sleep(seconds)
    return real(*arguments, **more)

setattr(place, name, slow)
"""


class Running:
    """A process at the place where it waits."""

    def __init__(self, moment: str, folder: Path, *arguments: str, first: str = "") -> None:
        self.folder = RunFolder(folder)
        self.process = Child([*arguments, f"hydra.run.dir={folder}"], folder, first=first + WAITS % moment)
        self.process.wait_for(lambda: "HERE\n" in self.process.output())
        time.sleep(0.2)  # it says where it is before it waits there

    def end_by(self, *signals: int) -> list[str]:
        """Sends the signals, half a second apart; returns the lines on stderr."""
        for number in signals[:-1]:
            self.process.send_signal(number)
            time.sleep(0.5)
        self.process.send_signal(signals[-1])
        self.process.wait()
        return self.process.errors().splitlines()

    def assert_in_order(self) -> None:
        """What every end leaves: a state, no lock, no half file."""
        assert self.folder.read_json("status.json")["state"] == "interrupted"
        assert not (self.folder.path / "run.lock").exists()
        assert list(self.folder.path.rglob("*.tmp")) == []


@pytest.fixture
def running(data_overrides, tmp_path):
    started = []

    def start(moment: str, **more) -> Running:
        arguments = ["finetune", *data_overrides, *SMALL, "data.label=subject"]
        started.append(Running(moment, tmp_path / "run", *arguments, **more))
        return started[-1]

    yield start
    for run in started:
        run.process.kill()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "number", "code", "name"),
    [
        ("data", signal.SIGTERM, 75, "SIGTERM"),
        ("data", signal.SIGINT, 130, "Ctrl-C"),
        ("training", signal.SIGHUP, 75, "SIGHUP; saved at step"),
        ("training", signal.SIGINT, 130, "Ctrl-C; saved at step"),
        ("evaluation", signal.SIGTERM, 75, "SIGTERM"),
        ("evaluation", signal.SIGHUP, 75, "SIGHUP"),
        ("evaluation", signal.SIGINT, 130, "Ctrl-C"),
    ],
)
def test_every_signal_ends_in_order_and_the_run_goes_on(running, moment, number, code, name, capsys):
    run = running(moment)
    lines = run.end_by(number)
    assert run.process.returncode == code
    run.assert_in_order()
    assert lines[-1].startswith(f"interrupted ({name}")
    command = lines[-1].partition("Go on with: groundup ")[2].split()
    assert command == ["resume", f"run={os.path.relpath(run.folder.path)}"]
    assert not run.folder.metrics_json.exists()
    assert cli.run(command) == 0
    assert run.folder.status()["state"] == "done"
    assert "test/accuracy" in json.loads(run.folder.metrics_json.read_text())
    said = capsys.readouterr().err
    assert ("resuming at step 8" in said) == (moment == "evaluation")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "name"),
    [(signal.SIGTERM, 75, "SIGTERM"), (signal.SIGHUP, 75, "SIGHUP"), (signal.SIGINT, 130, "Ctrl-C")],
)
def test_signal_before_there_is_a_run_says_so(running, number, code, name):
    run = running("start")
    assert run.end_by(number) == [f"interrupted ({name}) before anything was written"]
    assert run.process.returncode == code
    assert not run.folder.path.exists()


@pytest.mark.slow
def test_second_ctrl_c_ends_at_once_and_leaves_no_half_file(running):
    run = running("training")
    lines = run.end_by(signal.SIGINT, signal.SIGINT)
    assert run.process.returncode == 130
    run.assert_in_order()
    assert not list(run.folder.checkpoints.glob("*.ckpt"))
    assert lines[-1].startswith("interrupted (Ctrl-C). Go on with: groundup resume run=")


@pytest.mark.slow
def test_second_trainer_in_a_folder_is_refused_and_may_evaluate(running, finetuned, capsys):
    run = running("evaluation")
    before = run.folder.metrics_csv.read_bytes()
    assert cli.run(["resume", f"run={run.folder.path}"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"error: {run.folder.path} is being written by process {run.process.pid}")
    out = run.folder.path.parent / "out"
    assert cli.run(["evaluate", f"run={run.folder.path}", f"hydra.run.dir={out}"]) == 0
    assert run.folder.metrics_csv.read_bytes() == before and run.process.returncode is None
    run.end_by(signal.SIGKILL)
    assert run.folder.status()["state"] == "interrupted" and (run.folder.path / "run.lock").exists()
    capsys.readouterr()
    assert cli.run(["resume", f"run={run.folder.path}"]) == 0
    assert f"took over the lock of process {run.process.pid}" in capsys.readouterr().err


@pytest.mark.slow
def test_an_evaluation_that_is_stopped_goes_on_with_the_checkpoint_that_it_was_of(running, finetuned, tmp_path, capsys):
    checkpoint = finetuned / "checkpoints" / "last.ckpt"
    run = Running("evaluation", tmp_path / "evaluation", "evaluate", f"run={checkpoint}")
    lines = run.end_by(signal.SIGTERM)
    assert run.process.returncode == 75
    run.assert_in_order()
    command = lines[-1].partition("interrupted (SIGTERM). Go on with: groundup ")[2].split()
    assert cli.run(command) == 0
    assert "saved" not in capsys.readouterr().err  # nothing differs today
    assert run.folder.status()["state"] == "done" and run.folder.read_config()["run"] == str(checkpoint)
    again = tmp_path / "again"
    assert cli.run(["evaluate", f"run={checkpoint}", f"hydra.run.dir={again}"]) == 0
    assert json.loads(run.folder.metrics_json.read_text()) == json.loads((again / "metrics.json").read_text())


@pytest.mark.slow
def test_ignored_hangup_stays_ignored(running):
    """As under nohup."""
    run = running("training", first="import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n")
    assert run.end_by(signal.SIGHUP)
    assert run.process.returncode == 0


@pytest.mark.slow
def test_reader_that_goes_away_does_not_fail_a_run(data_overrides, tmp_path):
    """As in ``| head -1``, for both streams."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "groundup", "finetune", *data_overrides, *SMALL, "data.label=subject"]
    done = subprocess.run([*command, f"hydra.run.dir={tmp_path / 'run'}"], stdout=writer, stderr=writer, timeout=120)
    os.close(writer)
    assert done.returncode == 0
    assert RunFolder(tmp_path / "run").status()["state"] == "done"


@pytest.mark.parametrize("words", [["--help"], ["pretrain", "--cfg", "job"]])
def test_page_that_is_cut_off_ends_quietly(words):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "groundup", *words], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=120
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
