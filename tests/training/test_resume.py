"""A run that was killed ends in the same weights as one that was not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from toy_run import Constant, Journal, Signal, ToyData, ToyTask, fingerprint, in_child, train

from groundup.errors import UserError
from groundup.system.signals import Interrupted
from groundup.training import fit
from groundup.training.budget import measure_seconds_per_step
from groundup.training.resume import saved_step

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")

CASES = [
    pytest.param({"optimizer": "adamw"}, id="plain"),
    pytest.param({"optimizer": "muon", "accumulate": 4}, id="accumulation 4"),
    pytest.param({"optimizer": "muon", "workers": 2, "every": 1}, id="2 workers"),
    pytest.param({"workers": 2, "accumulate": 4, "ema": False}, id="2 workers, accumulation 4"),
]


def test_no_bit_of_a_double_is_lost(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole", precision="64-true")
    with pytest.raises(Interrupted):
        train(tmp_path / "part", precision="64-true", more=(Signal(9, signal.SIGTERM),))
    resumed, _ = train(tmp_path / "part", resume=True, precision="64-true")
    assert fingerprint(resumed) == fingerprint(whole)


@pytest.mark.parametrize("settings", CASES)
def test_resumed_run_ends_in_identical_weights(tmp_path: Path, settings: dict) -> None:
    whole, _ = train(tmp_path / "whole", **settings)
    killed = tmp_path / "killed"
    for kill in (
        Signal(2),  # before the first checkpoint
        Signal(9),  # in the middle of a step
        Signal(13, when="end"),
        Signal(14, when="validation"),  # between the save that is due and its validation
        Signal(19, signal.SIGTERM),
        Signal(23),
    ):
        code = in_child(lambda kill=kill: train(killed, resume=True, more=(kill,), **settings))
        assert code == (75 if kill.number == signal.SIGTERM else -signal.SIGKILL)
    resumed, trainer = train(killed, resume=True, **settings)
    assert trainer.global_step == 24
    assert fingerprint(resumed) == fingerprint(whole)
    assert 0 < len(resumed.trace) < len(whole.trace)
    assert resumed.trace == whole.trace[-len(resumed.trace) :]
    assert resumed.validated == whole.validated[-len(resumed.validated) :]
    assert Journal(killed).rows() == Journal(tmp_path / "whole").rows()
    best = [torch.load(run / "checkpoints" / "best.ckpt") for run in (killed, tmp_path / "whole")]
    assert best[0]["global_step"] == best[1]["global_step"]
    assert all(torch.equal(value, best[1]["state_dict"][name]) for name, value in best[0]["state_dict"].items())


def test_two_processes_resume_exactly(tmp_path: Path) -> None:
    settings = {"strategy": "ddp_fork", "devices": 2, "accumulate": 2, "steps": 10, "every": 3, "validate_every": 5}
    assert in_child(lambda: train(tmp_path / "whole", **settings)) == 0
    assert in_child(lambda: train(tmp_path / "stopped", **settings, more=(StopAt(6),))) == 0
    assert saved_step(tmp_path / "stopped" / "checkpoints" / "last.ckpt") == 6
    assert in_child(lambda: train(tmp_path / "stopped", **settings, resume=True)) == 0
    whole, stopped = (
        torch.load(tmp_path / name / "checkpoints" / "last.ckpt")["state_dict"] for name in ("whole", "stopped")
    )
    assert all(torch.equal(value, stopped[name]) for name, value in whole.items())
    theirs, ours = Journal(tmp_path / "whole").rows(), Journal(tmp_path / "stopped").rows()
    # The weights are the same to the bit; a sum over ranks that was saved halfway is added up in another order.
    assert all(ours[key] == pytest.approx(row, rel=1e-6) for key, row in theirs.items())
    # 2 ranks x 2 micro-batches x 24 positions x 8 steps until the last row
    assert 0.8 * 768 < next(row for key, row in theirs.items() if key[0] == 8 and "tokens" in row)["tokens"] < 768


def test_another_number_of_processes_goes_on_with_the_same_rows(tmp_path: Path, monkeypatch) -> None:
    """Two processes, then one with twice the accumulation, and back: equal but for rounding where nothing is random."""
    monkeypatch.setattr(torch.nn, "Dropout", lambda _: torch.nn.Identity())
    settings = {"steps": 9, "every": 3, "validate_every": 5}
    one, two = {"accumulate": 2}, {"strategy": "ddp_fork", "devices": 2}
    assert in_child(lambda: train(tmp_path / "whole", **settings, **one)) == 0
    assert in_child(lambda: train(tmp_path / "run", **settings, **two, more=(StopAt(3),))) == 0
    assert in_child(lambda: train(tmp_path / "run", **settings, **one, more=(StopAt(6),), resume=True)) == 0
    assert in_child(lambda: train(tmp_path / "run", **settings, **two, resume=True)) == 0
    saved = [torch.load(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "run")]
    assert [state["callbacks"]["ExactResume"]["batches"] for state in saved] == [18, 9]
    for name, value in saved[0]["state_dict"].items():
        torch.testing.assert_close(saved[1]["state_dict"][name], value, rtol=1e-3, atol=1e-4)
    theirs, ours = Journal(tmp_path / "whole").rows(), Journal(tmp_path / "run").rows()
    assert all(ours[key] == pytest.approx(row, rel=1e-2) for key, row in theirs.items())  # a stop adds validations


class StopAt(Callback):
    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if trainer.global_step >= self.step and not trainer.fit_loop.epoch_loop._should_accumulate():
            trainer.should_stop = True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
def test_signal_saves_at_the_next_step_boundary(tmp_path: Path, number: int, code: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as stop:
        train(tmp_path, accumulate=4, every=100, more=(Signal(8, number),))
    assert stop.value.code == code
    assert stop.value.signal_name == signal.Signals(number).name
    tokens = pytest.approx(0.9 * 36 * 24, rel=0.1)  # a tenth of the 24 positions of a micro-batch is padding
    saved = torch.load(tmp_path / "checkpoints" / "last.ckpt")
    assert (saved["global_step"], saved["callbacks"]["ExactResume"]["batches"]) == (9, 36)
    counted = saved["callbacks"]["StepLogger"]
    assert counted["tokens"] + counted["real"] == tokens
    assert signal.getsignal(number) == before


def test_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, more=(Signal(8, signal.SIGINT), Signal(8, signal.SIGINT)))
    assert saved_step(tmp_path / "checkpoints" / "last.ckpt") == 5


def test_finished_run_does_nothing_more_and_can_be_extended(tmp_path: Path) -> None:
    whole, _ = train(tmp_path / "whole", 20, accumulate=2, schedule=Constant, validate_every=None)
    train(tmp_path / "part", 12, accumulate=2, schedule=Constant, validate_every=None)
    again, trainer = train(tmp_path / "part", 12, accumulate=2, schedule=Constant, validate_every=None, resume=True)
    assert again.trace == []
    assert trainer.global_step == 12
    longer, _ = train(tmp_path / "part", 20, accumulate=2, schedule=Constant, validate_every=None, resume=True)
    assert longer.trace == whole.trace[-16:]
    assert fingerprint(longer) == fingerprint(whole)
    assert (20, "epoch", "step", "validation/loss") in {
        (row["step"], "epoch", *sorted(row)) for row in Journal(tmp_path / "part").rows().values()
    }


def test_resume_with_another_order_of_data_is_refused(tmp_path: Path, monkeypatch) -> None:
    train(tmp_path, 6)
    for changed in ({"seed": 4}, {"accumulate": 2}):
        with pytest.raises(UserError, match="order of the data"):
            train(tmp_path, 12, resume=True, **changed)
    monkeypatch.setattr("toy_run.ORDER", "22 rows, 2 a batch")
    with pytest.raises(UserError, match=r"22 rows, 4 a bat.* -> 22 rows, 2 a bat"):
        train(tmp_path, 12, resume=True)


def test_last_step_is_always_validated_under_its_own_number(tmp_path: Path) -> None:
    task, _ = train(tmp_path, 10, accumulate=2, validate_every=4)
    assert [step for step, _ in task.validated] == [4, 8, 10]
    rows = Journal(tmp_path).rows()
    assert [key[0] for key in rows if "validation/loss" in key] == [4, 8, 10]


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_no_process_of_a_failed_fit_is_left(error, monkeypatch):
    """One that waits in a collective does not end by itself; one that has ended is no reason to be killed."""
    monkeypatch.setattr(fit, "GRACE", 0.5)
    waits = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    trainer = SimpleNamespace(strategy=SimpleNamespace(launcher=SimpleNamespace(procs=[waits])))
    fit.end_ranks(trainer, error)
    assert waits.returncode == -signal.SIGKILL
    assert trainer.strategy.launcher.procs == []  # what Lightning's observer sees
    fit.end_ranks(SimpleNamespace(strategy=SimpleNamespace(launcher=None)), error)


def test_no_checkpoint_is_loaded_that_lightning_looks_for_on_a_cluster(tmp_path: Path, monkeypatch) -> None:
    """It would go on from the newest hpc_ckpt_*.ckpt of its folder, or of the current one, whoever has put it there."""
    plain, _ = train(tmp_path / "plain", 6)
    train(tmp_path / "stranger", 12, lr=0.1)
    last = tmp_path / "stranger" / "checkpoints" / "last.ckpt"
    run = tmp_path / "run"
    for folder in (run, run / "checkpoints"):
        folder.mkdir()
        shutil.copy(last, folder / "hpc_ckpt_1.ckpt")
    monkeypatch.chdir(run)
    for name in ("NTASKS", "PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", str(int(name == "NTASKS")))
    build = partial(Trainer, accelerator="cpu", devices=1)
    trial = ToyTask()
    measure_seconds_per_step(trial, ToyData(1000).train_dataloader(), build, skip=1, steps=1, seconds=0)
    assert trial.trace[0][0] == 0
    task, _ = train(run, 6)
    assert SLURMEnvironment.detect()
    assert task.trace == plain.trace and fingerprint(task) == fingerprint(plain)
