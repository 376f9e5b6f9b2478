"""Two processes on one machine (gloo): the same training as one process with twice the micro-batches."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from child import Child
from seed import SEED

from groundup.runs.history import read_metrics
from groundup.training.step_logger import OF_MACHINE

EVERYWHERE = [
    f"seed={SEED}",  # in child processes too
    "size=nano", "tokenizer.vocab_size=300", "wandb.mode=disabled", "threads=1", "batching.batch_size=4",
    "budget.steps=9", "validate_every=3", "optimizer=adamw", "scheduler=constant",
    "checkpoint_every=4", "callbacks.step_logger.every=1",
]  # fmt: skip
VERBS = {
    "ddp": ["finetune", "data.label=subject", "task.dropout=0", "model.dropout=0"],
    "ddp, mean teacher": [
        "finetune",
        "data.label=subject",
        "data.labelled=120",
        "self_training=mean_teacher",
        "self_training.ramp=0",
        "augmentation=cut_off",
        "task.dropout=0",
        "model.dropout=0",
    ],
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
    "ddp, mean teacher": ["trainer=ddp", "trainer.accelerator=cpu"],
    "ddp, translation": ["trainer=ddp", "trainer.accelerator=cpu"],
    "fsdp": [
        "trainer=fsdp", "trainer.accelerator=cpu", "trainer.precision=32-true",
        "+trainer.strategy.process_group_backend=gloo",
    ],
}  # fmt: skip


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
        for metric in ours.keys() - {*OF_MACHINE}:
            assert theirs[metric] == pytest.approx(ours[metric], rel=1e-4, abs=1e-5), metric
    results = [json.loads((folder / "metrics.json").read_text()) for folder in (several, one)]
    assert results[0].keys() == results[1].keys()
    for metric, ours in results[1].items():
        assert results[0][metric]["value"] == pytest.approx(ours["value"], rel=1e-4, abs=1e-5), metric


@pytest.fixture(scope="module")
def two(data_overrides, tmp_path_factory):
    """Runs a case with two processes, once; returns its folder and what it said."""
    made: dict[str, tuple[Path, str]] = {}

    def run(trainer: str) -> tuple[Path, str]:
        if trainer not in made:
            place = tmp_path_factory.mktemp("two")
            words = [*VERBS[trainer], *data_overrides, *EVERYWHERE, *TWO[trainer], f"paths.logs={place / 'logs'}"]
            first = Child(words, place / "first")
            assert first.wait(240) == 0, first.errors()
            (folder,) = [path.parent for path in place.rglob("status.json")]  # the second process made none of its own
            made[trainer] = folder, first.errors()
        return made[trainer]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TWO)
def test_two_processes_train_as_one(trainer, two, groundup, data_overrides):
    folder, said = two(trainer)
    status = json.loads((folder / "status.json").read_text())
    assert (status["state"], status["stage"]) == ("done", VERBS[trainer][0])
    arguments = [*VERBS[trainer], *data_overrides, *EVERYWHERE]
    assert_same_training(folder, groundup(*arguments, "trainer.accumulate_grad_batches=2"))
    assert len(list(folder.rglob("report.html"))) == 1
    assert said.count("budget: 9 steps") == 1


@pytest.mark.slow
def test_each_rank_of_a_job_in_a_sweep_has_the_values_of_that_job(groundup, data_overrides, tmp_path):
    """Two jobs of two processes at once; the second one's learning rate is that of no other."""
    arguments = [*VERBS["ddp"], *data_overrides, *EVERYWHERE]
    sweep = [
        "-m",
        "optimizer.lr=1e-3,2e-2",
        "launcher=pool",
        "launcher.jobs=2",
        f"hydra.sweep.dir={tmp_path / 'sweep'}",
    ]
    both = Child([*arguments, *TWO["ddp"], *sweep], tmp_path / "both")
    assert both.wait(280) == 0, both.errors()
    assert len(list(tmp_path.rglob("status.json"))) == 2  # the other ranks made none of their own
    assert_same_training(
        tmp_path / "sweep" / "1", groundup(*arguments, "trainer.accumulate_grad_batches=2", "optimizer.lr=2e-2")
    )


CLASSIFY = ["finetune", "data.label=subject", *EVERYWHERE, *TWO["ddp"]]


@pytest.mark.slow
def test_ranks_meet_at_a_free_port_and_import_nothing_of_the_current_folder(data_overrides, tmp_path):
    for name in ("random", "torch", "numpy", "signal"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    with socket.create_server(("", 0)) as taken:
        done = subprocess.run(
            [sys.executable, "-m", "groundup", *CLASSIFY, *data_overrides, "budget.steps=2", "hydra.run.dir=run"],
            cwd=tmp_path,
            env=os.environ | {"MASTER_PORT": str(taken.getsockname()[1]), "MASTER_ADDR": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "status.json").read_text())["state"] == "done"


def children_of(pid: int) -> list[int]:
    """Numbers of the processes that ``pid`` has started."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    return [child for child, parent in parents.items() if parent == pid]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 75)])
def test_no_rank_outlives_the_first(number, code, data_overrides, tmp_path):
    folder = tmp_path / "run"
    first = Child([*CLASSIFY, *data_overrides, "budget.steps=1000000", f"hydra.run.dir={folder}"], folder)
    first.wait_for(lambda: read_metrics(folder / "metrics.csv"), timeout=200, every=0.2)
    (rank,) = children_of(first.pid)
    first.send_signal(number)  # to that one alone
    assert first.wait() == code, first.errors()
    limit = time.monotonic() + 20
    while Path(f"/proc/{rank}").exists() and time.monotonic() < limit:
        time.sleep(0.2)
    assert not Path(f"/proc/{rank}").exists()


# A tenth of a second a step, of the first rank; the other waits for it.
SLOWLY = """
import time
from groundup.tasks.base import Task

real = Task.training_step
Task.training_step = lambda self, *batch: time.sleep(0.1) or real(self, *batch)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_notice_of_a_cluster_to_all_ranks_saves_once_and_the_run_goes_on_exactly(two, data_overrides, tmp_path):
    """SIGUSR1 to each process of the step, as SLURM sends it; the exit code is that of what is to be queued again."""
    whole, _ = two("ddp")
    folder = tmp_path / "run"
    arguments = [*VERBS["ddp"], *data_overrides, *EVERYWHERE, *TWO["ddp"], f"hydra.run.dir={folder}"]
    first = Child(arguments, folder, first=SLOWLY)
    first.wait_for(lambda: any(row["step"] >= 2 for row in read_metrics(folder / "metrics.csv")), timeout=200)
    (rank,) = children_of(first.pid)
    os.killpg(first.pid, signal.SIGUSR1)
    assert first.wait() == 75, first.errors()
    assert not Path(f"/proc/{rank}").exists()
    status, saved = json.loads((folder / "status.json").read_text()), last_step(folder)
    assert (status["state"], status["why"]) == ("interrupted", f"SIGUSR1; saved at step {saved}")
    assert 2 <= saved < last_step(whole)
    again = Child(["resume", f"run={folder}"], folder)
    assert again.wait(240) == 0, again.errors()
    for name in ("best.ckpt", "last.ckpt"):
        ours, theirs = weights(folder, name), weights(whole, name)
        assert all(torch.equal(value, ours[key]) for key, value in theirs.items())
    assert json.loads((folder / "metrics.json").read_text()) == json.loads((whole / "metrics.json").read_text())


def last_step(folder: Path) -> int:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
