"""Distillation: what a lesson adds to a loss, and that it changes nothing where it should not."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import Callback
from seed import SEED

from groundup.data.datamodule import TextDataModule
from groundup.tasks.distillation import TEACHER, Lesson
from groundup.training.distillation import Distillation
from groundup.training.resume import ExactResume

STEPS = 4


@pytest.fixture(scope="module")
def data(make_data):
    return make_data("classification")


@pytest.fixture(scope="module")
def answers(data):
    torch.manual_seed(SEED)
    return torch.randn(len(data.examples("train").lengths(True)), len(data.labels)).log_softmax(-1)


@pytest.fixture
def train_with(data, make_task, quiet_trainer):
    def run(*callbacks: Callback):
        task = make_task("classification", data, lr=3e-3, dropout=0.3)
        batches = TextDataModule(data, task.collator(), STEPS).train_dataloader()
        trainer = quiet_trainer(max_steps=STEPS, limit_val_batches=0, callbacks=[ExactResume("", SEED), *callbacks])
        trainer.fit(task, train_dataloaders=batches)
        return task

    return run


def test_at_alpha_0_the_training_is_that_without_a_teacher(train_with, answers):
    plain = train_with().state_dict()
    untaught = train_with(Distillation({"train": answers}, 0.0, 3.0)).state_dict()
    assert all(torch.equal(plain[name], value) for name, value in untaught.items())
    taught = train_with(Distillation({"train": answers}, 0.5, 3.0)).state_dict()
    assert not all(torch.equal(plain[name], taught[name]) for name in plain)


def test_the_loss_is_labels_and_teacher_by_their_shares(data, make_task, answers):
    task = make_task("classification", data).eval()
    batch = next(iter(TextDataModule(data, task.collator(), 1).train_dataloader()))
    plain, logits, said = task.loss(batch), task.logits(batch), answers[batch["index"]]
    alpha, T = 0.3, 2.5
    p = (said / T).softmax(-1)
    apart = (p * (p.log() - (logits / T).log_softmax(-1))).sum()
    found = task.loss({**batch, TEACHER: Lesson(said, alpha, T)})
    torch.testing.assert_close(found.total, (1 - alpha) * plain.total + alpha * T**2 * apart)
    assert found.plain == plain.total and found.count == plain.count  # what is reported stays comparable


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn_from_it():
    logits = torch.randn(5, 4, requires_grad=True)
    lesson = Lesson(logits.detach().log_softmax(-1), 1.0, 2.0)
    loss = lesson.alone(logits).sum()
    (gradient,) = torch.autograd.grad(loss, logits)
    assert abs(float(loss.detach())) < 1e-5 and float(gradient.abs().max()) < 1e-5


def test_each_row_meets_the_answer_to_itself(train_with, data, answers):
    class Watch(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            assert torch.equal(batch[TEACHER].answers, answers[batch["index"]])
            assert not batch[TEACHER].answers.requires_grad

    train_with(Distillation({"train": answers}, 0.5, 2.0), Watch())
