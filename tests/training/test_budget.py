from __future__ import annotations

import random
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from toy_run import Constant, ToyData, ToyTask, fingerprint

from groundup.config.budget import epochs_for
from groundup.errors import UserError
from groundup.training.budget import measure_seconds_per_step, to_steps
from groundup.training.ema import EMA
from groundup.training.fit import Processes, count_processes

DATA = SimpleNamespace(rows=4_000, batches_per_epoch=100, tokens_per_batch=50.0)


def never() -> float:
    raise AssertionError("only minutes are measured")


@pytest.mark.parametrize(
    ("budget", "accumulate", "world", "steps"),
    [
        ({"steps": 7}, 4, 2, 7),
        ({"epochs": 3}, 1, 1, 300),
        ({"epochs": 3}, 4, 1, 75),
        ({"epochs": 0.5}, 2, 5, 5),
        ({"epochs": "auto"}, 1, 1, 600),  # 3 + 12,000 / 4,000
        ({"tokens": 10_000}, 1, 1, 200),
        ({"tokens": 10_000}, 2, 2, 50),
        ({"tokens": 1}, 1, 1, 1),
        ({"steps": None, "tokens": None, "epochs": 1, "minutes": None}, 1, 1, 100),
    ],
)
def test_conversion(budget: dict, accumulate: int, world: int, steps: int) -> None:
    assert to_steps(budget, accumulate, DATA, never, world)[0] == steps


def test_epochs_of_their_own_are_more_for_small_sets_within_bounds() -> None:
    assert [epochs_for(rows) for rows in (1, 444, 1_000, 12_000, 10**9)] == [30, 30, 15, 4, 4]


def test_conversion_is_said() -> None:
    assert to_steps({"epochs": 3}, 4, DATA, never)[1] == (
        "75 steps (3 epochs x 100 batches, 4 a step): 15,000 tokens, 3.00 epochs"
    )
    assert to_steps({"minutes": 2}, 1, DATA, lambda: 0.5) == (
        240,
        "240 steps (2 minutes, 500.0 ms a step, validations not counted): 12,000 tokens, 2.40 epochs",
    )


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({}, "no budget: give one of budget.steps, "),
        ({"steps": 5, "epochs": 2}, "budget.steps=5 and budget.epochs=2: a budget has one unit"),
        ({"epochs": 0}, "budget.epochs=0: must be a number above 0"),
    ],
)
def test_unclear_budget_is_refused(budget: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        to_steps(budget, 1, DATA, never)


def test_minutes_need_one_process() -> None:
    with pytest.raises(UserError, match="one process"):
        to_steps({"minutes": 1}, 1, DATA, never, world=2)


def numpy_state() -> list[int]:
    return np.random.get_state()[1].tolist()  # noqa: NPY002 - the global generator is what must not move


def test_measuring_leaves_the_run_alone() -> None:
    task, trial, data = ToyTask(schedule=Constant), ToyTask(schedule=Constant), ToyData(1_000_000)
    before = fingerprint(task), torch.get_rng_state(), numpy_state(), random.getstate()
    build = partial(Trainer, accelerator="cpu", devices=1, accumulate_grad_batches=2)
    assert 1e-4 < measure_seconds_per_step(trial, data.train_dataloader(), build, seconds=0.1) < 1
    assert len(trial.trace) >= 2 * 11
    assert trial.trace[0][0] == 0
    after = fingerprint(task), torch.get_rng_state(), numpy_state(), random.getstate()
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    assert before[2:] == after[2:]


def test_a_teacher_that_is_an_average_keeps_nothing_of_the_trial() -> None:
    teacher, trial = EMA(0.9), ToyTask(schedule=Constant)
    build = partial(Trainer, accelerator="cpu", devices=1)
    measure_seconds_per_step(trial, ToyData(1_000_000).train_dataloader(), build, teacher, seconds=0.05)
    assert trial.trace and not teacher.average


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"devices": 1}, Processes(1, 1)),
        ({"devices": "2"}, Processes(2, 2)),
        ({"devices": "auto"}, Processes(1, 1)),
        ({"devices": 2, "num_nodes": 3, "strategy": "ddp"}, Processes(2, 6)),
        ({"accelerator": "cuda", "devices": -1}, Processes(4, 4)),
        ({"accelerator": "gpu", "devices": "auto"}, Processes(4, 4)),
        ({"accelerator": "gpu", "devices": [0, 3]}, Processes(2, 2)),
        ({"accelerator": "gpu", "devices": "1,2,3"}, Processes(3, 3)),
    ],
)
def test_processes_are_counted_as_lightning_counts_them(options, expected, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert count_processes(partial(Trainer, **{"accelerator": "cpu", **options})) == expected


def test_what_lightning_refuses_is_one_line():
    with pytest.raises(UserError, match=r"trainer: .*strategy='sideways'"):
        count_processes(partial(Trainer, accelerator="cpu", strategy="sideways"))
