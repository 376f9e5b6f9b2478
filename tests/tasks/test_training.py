"""What holds for the training of every task: how a step is split changes nothing, and it learns."""

from __future__ import annotations

import math

import pytest
import torch

from groundup.data.seeding import mix
from groundup.errors import UserError
from groundup.training.freeze import Freeze

STEPS, ROWS = 4, 8
CASES = {
    "classification": {},
    "weighted classification": {"class_weights": "balanced"},
    "smoothed classification": {"label_smoothing": 0.2},
    "masked_lm": {"mask_rate": 0.3},
    "causal_lm": {},
}


def micro_batches(data, task, split: int) -> list[dict]:
    """The same rows in the same order, ``split`` micro-batches a step."""
    examples, size = data.examples("train"), ROWS // split
    batches = []
    for start in range(0, STEPS * ROWS, size):
        keys = [(0, index) for index in range(start, start + size)]
        batches.append(task.collator()(examples.__getitems__(keys), [mix(1, *key) for key in keys]))
    return batches


def uneven(data, task, name: str) -> list[dict]:
    """Micro-batches of a language model whose first half of rows has fewer scored tokens."""
    batches = micro_batches(data, task, 8)
    for number, batch in enumerate(batches):
        if number % 3 == 0:
            batch["labels"][:, : 4 + number % 5] = -100
    return batches


def merged(batches: list[dict], size: int) -> list[dict]:
    """Neighbouring micro-batches as one; rows are padded to the longest."""
    together = []
    for start in range(0, len(batches), size):
        part = batches[start : start + size]
        length = max(batch["input_ids"].size(1) for batch in part)
        batch = {}
        for name in part[0]:
            fill = {"labels": -100}.get(name, 0)
            rows = [b[name] for b in part]
            if rows[0].ndim == 2:
                rows = [torch.nn.functional.pad(row, (0, length - row.size(1)), value=fill) for row in rows]
            batch[name] = torch.cat(rows)
        together.append(batch)
    return together


@pytest.mark.parametrize("case", CASES)
def test_splitting_a_step_into_micro_batches_changes_nothing(case, make_data, make_task, train):
    name = case.split()[-1]
    data = make_data(name)
    weights, norms = {}, {}
    for split in (1, 2, 4, 8):
        task = make_task(name, data, **CASES[case])
        batches = (
            micro_batches(data, task, split)
            if name == "classification"
            else merged(uneven(data, task, name), 8 // split)
        )
        assert len(batches) == STEPS * split
        trainer = train(task, batches, STEPS, accumulate_grad_batches=split, gradient_clip_val=1.0)
        assert trainer.global_step == STEPS
        weights[split], norms[split] = task.state_dict(), float(task.grad_norm)
    started = make_task(name, data, **CASES[case]).state_dict()
    assert max((weights[1][key] - started[key]).abs().max() for key in started) > 1e-3
    for split in (2, 4, 8):
        assert norms[split] == pytest.approx(norms[1], rel=1e-4)
        for key, value in weights[1].items():
            torch.testing.assert_close(weights[split][key], value, atol=2e-5, rtol=1e-4, msg=f"{split}: {key}")


def test_micro_batches_of_these_tests_are_uneven(make_data, make_task):
    data = make_data("causal_lm")
    task = make_task("causal_lm", data)
    assert len({int((batch["labels"] != -100).sum()) for batch in uneven(data, task, "causal_lm")[:8]}) > 1
    data = make_data("masked_lm")
    task = make_task("masked_lm", data)
    assert len({int((batch["labels"] != -100).sum()) for batch in micro_batches(data, task, 8)[:8]}) > 1
    data = make_data("classification")
    task = make_task("classification", data)
    assert len({batch["input_ids"].shape for batch in micro_batches(data, task, 8)[:8]}) > 1


@pytest.mark.parametrize("name", ["classification", "masked_lm", "causal_lm"])
def test_every_task_overfits_one_batch(name, make_data, make_task, learn):
    data = make_data(name)
    task = make_task(name, data, lr=3e-3)
    batch = next(iter(data.train_loader(task.collator())))

    def certain(task) -> bool:
        loss = task.loss(batch)
        return float(loss.total / loss.count) < 0.15

    learn(task, batch, certain)


@pytest.mark.parametrize("name", ["classification", "masked_lm", "causal_lm"])
def test_loss_at_the_start_is_that_of_a_uniform_guess(name, make_data, make_task):
    data = make_data(name)
    task = make_task(name, data).eval()
    choices = len(data.facts.labels) if name == "classification" else data.facts.vocab_size
    with torch.no_grad():
        loss = task.loss(next(iter(data.train_loader(task.collator()))))
    assert float(loss.total / loss.count) == pytest.approx(math.log(choices), abs=0.35)


def test_step_statistics_are_sums_over_the_step(make_data, make_task, train):
    data = make_data("causal_lm")
    task = make_task("causal_lm", data)
    batches = uneven(data, task, "causal_lm")[:8]
    train(task, batches, 1, accumulate_grad_batches=8)
    fresh = make_task("causal_lm", data)
    losses = [fresh.loss(batch) for batch in batches]
    assert float(task.step_statistics["count"]) == sum(float(loss.count) for loss in losses)
    assert float(task.step_statistics["loss"]) == pytest.approx(sum(loss.total.item() for loss in losses), rel=1e-5)


@pytest.mark.parametrize("until", [None, 3])
def test_freezing_all_that_a_tied_head_uses_is_refused(until, make_data, make_task, train):
    data = make_data("causal_lm")
    task = make_task("causal_lm", data)
    batch = next(iter(data.train_loader(task.collator())))
    refusals = {
        "model": r"freeze.what=model leaves nothing to train, as the head shares .* Try task.tied=false$",
        "head": r"freeze.what=head: .* no weights of its own to freeze, as it shares the embedding",
    }
    for what, said in refusals.items():
        with pytest.raises(UserError, match=said):
            train(make_task("causal_lm", data), [batch], 1, callbacks=[Freeze(until=until, what=what)])
    train(make_task("causal_lm", data, tied=False), [batch], 1, callbacks=[Freeze(until=until)])


def test_step_without_a_scored_position_changes_nothing(make_data, make_task, train):
    data = make_data("causal_lm")
    task = make_task("causal_lm", data)
    before = {key: value.clone() for key, value in task.state_dict().items()}
    batch = next(iter(data.train_loader(task.collator())))
    batch["labels"] = torch.full_like(batch["labels"], -100)
    train(task, [batch], 1, gradient_clip_val=1.0)
    assert all(torch.equal(before[key], value) for key, value in task.state_dict().items())
