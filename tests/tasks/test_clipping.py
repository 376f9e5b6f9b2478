"""From gradients to a step: clipped at their true size, whatever scales them on the way; penalties after it."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from groundup.errors import UserError
from groundup.training.muon import MuonAdamW
from groundup.training.nan_guard import NanGuard
from groundup.training.optimization import Optimization
from groundup.training.schedules import Constant

OPTIMIZERS = {
    "fused": partial(torch.optim.AdamW, lr=1e-3, fused=True),
    "plain": partial(torch.optim.AdamW, lr=1e-3, fused=False),
    "muon": partial(MuonAdamW, lr=1e-3, adamw_lr=1e-3),
}


@pytest.fixture(scope="module")
def step(make_data, make_task, train):
    """A task after some steps on one batch, and the weights before."""
    data = make_data("causal_lm")

    def run(optimizer: str, steps: int = 1, scale: float | None = None, callbacks=(), l1: float = 0.0, **words):
        optimize = Optimization(OPTIMIZERS[optimizer], Constant(), total_steps=10, l1=l1)
        task = make_task("causal_lm", data, optimize=optimize)
        before = {name: value.clone() for name, value in task.state_dict().items()}
        if scale is not None:
            scaler = torch.amp.GradScaler("cpu", init_scale=scale)
            words["plugins"] = [MixedPrecision("16-mixed", "cpu", scaler)]
        train(task, [next(iter(data.train_loader(task.collator())))], steps, callbacks=list(callbacks), **words)
        return task, before

    return run


@pytest.mark.parametrize("split", [1, 2])
def test_the_gradient_of_a_step_is_that_of_the_mean_over_its_scored_positions(make_data, make_task, train, split):
    data = make_data("causal_lm")
    trained, by_hand = make_task("causal_lm", data), make_task("causal_lm", data)
    batch = next(iter(data.train_loader(trained.collator())))
    rows = [
        {name: value[part] for name, value in batch.items()}
        for part in torch.arange(len(batch["input_ids"])).chunk(split)
    ]
    train(trained, rows, 1, accumulate_grad_batches=split, gradient_clip_val=None)
    loss = by_hand.loss(batch)
    (loss.total / loss.count).backward()
    gradients = {name: parameter.grad for name, parameter in by_hand.named_parameters()}
    for name, parameter in trained.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-6, rtol=1e-4)
    norm = torch.cat([one.flatten() for one in gradients.values()]).norm()
    assert float(trained.grad_norm) == pytest.approx(float(norm), rel=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_half_precision_is_unscaled_before_it_is_clipped(step, optimizer):
    full, _ = step(optimizer, gradient_clip_val=0.1)
    half, _ = step(optimizer, scale=64.0, gradient_clip_val=0.1)
    assert float(half.grad_norm) == pytest.approx(float(full.grad_norm), rel=0.02)
    clipped = [
        torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None]).norm() for task in (full, half)
    ]
    assert [float(norm) for norm in clipped] == pytest.approx([0.1, 0.1], rel=0.01)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_that_overflows_is_skipped_and_training_goes_on(step, optimizer):
    skipped, before = step(optimizer, scale=2.0**30, callbacks=[NanGuard(every=1)], gradient_clip_val=1.0)
    assert not torch.isfinite(skipped.grad_norm)
    assert all(torch.equal(before[name], value) for name, value in skipped.state_dict().items())
    moved, before = step(optimizer, steps=40, scale=2.0**30, callbacks=[NanGuard(every=1)], gradient_clip_val=1.0)
    assert all(value.isfinite().all() for value in moved.state_dict().values())
    assert any(not torch.equal(before[name], value) for name, value in moved.state_dict().items())


def test_gradients_that_overflow_at_any_scale_end_the_run(step, monkeypatch):
    monkeypatch.setattr(torch.amp.GradScaler, "get_scale", lambda scaler: 1e-5)
    with pytest.raises(UserError, match="gradient is not finite"):
        step("fused", scale=2.0**30, callbacks=[NanGuard(every=1)])


def test_each_value_is_clipped_where_that_is_asked_for(step):
    by_norm, _ = step("plain", gradient_clip_val=0.01)
    by_value, _ = step("plain", gradient_clip_val=0.01, gradient_clip_algorithm="value")
    largest = max(float(p.grad.abs().max()) for p in by_value.parameters() if p.grad is not None)
    assert largest == pytest.approx(0.01)
    assert float(by_value.grad_norm) == pytest.approx(float(by_norm.grad_norm))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_l1_is_the_same_pull_for_every_optimizer(step, optimizer):
    plain, _ = step(optimizer)
    sparse, _ = step(optimizer, l1=3.0)
    for name, value in plain.state_dict().items():
        is_matrix = value.ndim == 2 and "embedding" not in name
        expected = torch.nn.functional.softshrink(value, 1e-3 * 3.0) if is_matrix else value
        torch.testing.assert_close(sparse.state_dict()[name], expected, msg=name)


@pytest.mark.parametrize("world", [1, 2, 5, 64])
def test_a_step_without_a_scored_position_keeps_its_zero_gradients_on_any_number_of_ranks(step, world, monkeypatch):
    task, _ = step("plain")
    monkeypatch.setattr("torch.distributed.all_reduce", lambda count: None)
    task.trainer = SimpleNamespace(world_size=world, precision_plugin=None)
    task._window_count = torch.tensor(0)
    for parameter in task.parameters():
        parameter.grad = torch.zeros_like(parameter)
    task.configure_gradient_clipping(torch.optim.SGD(task.parameters(), lr=1.0), 1.0)
    assert float(task.grad_norm) == 0.0
    assert all(not parameter.grad.any() for parameter in task.parameters())
