from __future__ import annotations

from functools import partial

import pytest
import torch

from groundup.errors import UserError
from groundup.training import schedules


def rates(make, total: int = 100, base: float = 2.0) -> list[float]:
    """Learning rate of each update."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=base)
    schedule = make()(optimizer, total)
    found = []
    for _ in range(total):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return found


ALL = [
    partial(schedules.Constant, warmup=10),
    partial(schedules.Linear, warmup=10),
    partial(schedules.Cosine, warmup=10),
    partial(schedules.WarmupStableDecay, warmup=10, decay=0.4),
    partial(schedules.InverseSquareRoot, warmup=10),
]


@pytest.mark.parametrize("make", ALL, ids=lambda make: make.func.__name__)
def test_warmup_rises_evenly_to_the_base_rate(make) -> None:
    assert rates(make)[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert max(rates(make)) == pytest.approx(2.0)


@pytest.mark.parametrize("make", ALL, ids=lambda make: make.func.__name__)
def test_warmup_may_be_a_share(make) -> None:
    assert rates(partial(make, warmup=0.1)) == rates(make)


def test_shapes() -> None:
    assert rates(schedules.Constant) == [2.0] * 100
    assert rates(partial(schedules.Linear, warmup=10))[55] == pytest.approx(1.0)
    assert rates(partial(schedules.Linear, warmup=0, final=0.5))[-1] == pytest.approx(1.01)
    cosine = rates(partial(schedules.Cosine, warmup=0, final=0.1))
    assert cosine[50] == pytest.approx(1.1)
    assert cosine[-1] == pytest.approx(0.2, abs=2e-3)
    assert rates(partial(schedules.InverseSquareRoot, warmup=25))[99] == pytest.approx(1.0)


def test_wsd_holds_then_falls() -> None:
    line = rates(partial(schedules.WarmupStableDecay, warmup=10, decay=40))
    assert line[9:61] == [2.0] * 52
    assert line[80] == pytest.approx(1.0)
    assert line[-1] == pytest.approx(2 / 40)
    root = rates(partial(schedules.WarmupStableDecay, decay=0.4, shape="sqrt"))
    assert root[70] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "make", [partial(schedules.Linear, warmup=101), partial(schedules.WarmupStableDecay, warmup=50, decay=60)]
)
def test_schedule_longer_than_the_run_is_refused(make) -> None:
    with pytest.raises(UserError, match="longer than the 100 steps"):
        rates(make)


def test_groups_keep_their_proportions_and_state_is_plain() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [parameters[0]], "lr": 1.0}, {"params": [parameters[1]], "lr": 0.1}])
    schedule = schedules.Linear(warmup=0)(optimizer, 10)
    schedule.step()
    assert schedule.get_last_lr() == pytest.approx([0.9, 0.09])
    again = schedules.Linear(warmup=0)(optimizer, 10)
    again.load_state_dict(schedule.state_dict())
    again.step()
    assert again.get_last_lr() == pytest.approx([0.8, 0.08])
    assert all(value is None for value in schedule.state_dict()["lr_lambdas"])
