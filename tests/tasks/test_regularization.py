"""R-Drop, mixup and weights of rows: what they add, and when they add nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from seed import SEED

from groundup.errors import UserError
from groundup.tasks import classification
from groundup.tasks.evaluation import evaluate
from groundup.tasks.regularization import divergence, draw_mix


@pytest.fixture(scope="module")
def data(make_data):
    return make_data("classification")


@pytest.fixture
def batch(data, make_task):
    return next(iter(data.train_loader(make_task("classification", data).collator())))


def same(one, other) -> bool:
    return torch.equal(one.total, other.total) and torch.equal(one.count, other.count)


def test_divergence_is_that_of_torch_and_nothing_between_equal_readings():
    one, other = torch.randn(2, 9, 4, generator=torch.Generator().manual_seed(1))
    p, q = one.log_softmax(-1), other.log_softmax(-1)
    wanted = [F.kl_div(a, b, log_target=True, reduction="none").sum(-1) for a, b in ((p, q), (q, p))]
    torch.testing.assert_close(divergence(one, other), sum(wanted) / 2)
    assert (divergence(one, other) > 0).all()
    assert torch.equal(divergence(one, one.clone()), torch.zeros(9))


def test_r_drop_adds_exactly_nothing_without_dropout(data, make_task, batch):
    plain = make_task("classification", data).train().loss(batch)
    twice = make_task("classification", data, r_drop=5.0).train().loss(batch)
    assert same(plain, twice)
    assert torch.equal(twice.plain, plain.total)


def test_r_drop_trains_on_the_mean_of_two_readings_and_their_distance(data, make_task, batch):
    task = make_task("classification", data, dropout=0.3, r_drop=2.0).train()
    torch.manual_seed(3)
    loss = task.loss(batch)
    torch.manual_seed(3)
    one, other = task.logits(batch), task.logits(batch)
    each = [F.cross_entropy(logits, batch["labels"], reduction="sum") for logits in (one, other)]
    torch.testing.assert_close(loss.total, sum(each) / 2 + 2.0 * divergence(one, other).sum())
    torch.testing.assert_close(loss.plain, each[0])


@pytest.mark.parametrize("words", [{"r_drop": 1.0}, {"mixup": 0.5}, {"word_dropout": 0.5}])
def test_nothing_of_it_is_in_an_evaluation(words, data, make_task, batch):
    plain, task = make_task("classification", data).eval(), make_task("classification", data, **words).eval()
    assert same(plain.loss(batch), task.loss(batch))
    figures = [evaluate(one, data, "validation", final=False).metrics["loss"].value for one in (plain, task)]
    assert figures[0] == figures[1]


def test_mixup_with_all_of_a_row_is_the_plain_loss_and_half_is_the_mean_of_both_labels(
    data, make_task, batch, monkeypatch
):
    plain, task = make_task("classification", data).train(), make_task("classification", data, mixup=0.5).train()
    partner = torch.roll(torch.arange(len(batch["labels"])), 1)
    monkeypatch.setattr(classification, "draw_mix", lambda rows, alpha, device: (torch.tensor(1.0), partner))
    loss = task.loss(batch)
    torch.testing.assert_close(loss.total, plain.loss(batch).total, rtol=1e-6, atol=0)
    assert torch.equal(loss.plain, plain.loss(batch).total)
    monkeypatch.setattr(classification, "draw_mix", lambda rows, alpha, device: (torch.tensor(0.5), partner))
    vectors = task.vectors(batch)
    logits = task.head((vectors + vectors[partner]) / 2)
    labels = F.one_hot(batch["labels"], len(data.facts.labels)).float()
    wanted = F.cross_entropy(logits, (labels + labels[partner]) / 2, reduction="sum")
    torch.testing.assert_close(task.loss(batch).total, wanted)


@pytest.mark.parametrize(
    "words", [{}, {"label_smoothing": 0.1}, {"class_weights": "balanced"}, {"r_drop": 1.0}, {"mixup": 1.0}]
)
def test_a_row_of_weight_two_is_a_row_that_stands_there_twice(words, data, make_task, batch, monkeypatch):
    monkeypatch.setattr(
        classification, "draw_mix", lambda rows, alpha, device: (torch.tensor(0.7), torch.arange(rows))
    )  # each row with itself
    rows = len(batch["labels"])
    twice = {name: torch.cat([value, value[:1]]) for name, value in batch.items()}
    weighted = {**batch, "weights": torch.tensor([2.0] + [1.0] * (rows - 1))}
    task = make_task("classification", data, **words).train()
    one, other = task.loss(twice), task.loss(weighted)
    torch.testing.assert_close(one.total, other.total)
    torch.testing.assert_close(one.count, other.count)


def test_a_mix_is_drawn_under_any_precision():
    found = []
    for kind in (torch.float32, torch.bfloat16):
        torch.manual_seed(SEED)
        torch.set_default_dtype(kind)  # as Lightning does for trainer.precision=bf16-true
        try:
            found.append(draw_mix(5, 0.2, torch.device("cpu")))
        finally:
            torch.set_default_dtype(torch.float32)
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_two_readings_of_a_row_and_a_mix_of_two_do_not_go_together(data, make_task):
    with pytest.raises(UserError, match="Try mixup=0"):
        make_task("classification", data, r_drop=1.0, mixup=0.2)
