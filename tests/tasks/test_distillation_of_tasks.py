"""Distillation of every task that can be taught: what its loss tells a teacher's answers to be compared with."""

from __future__ import annotations

import copy
import random
from functools import partial

import pytest
import torch
from lightning.pytorch import Callback
from seed import SEED

from groundup.data.batching import Bucketed
from groundup.data.datamodule import TextDataModule
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.models.transformer import TransformerEncoder
from groundup.tasks.distillation import TEACHER, Lesson
from groundup.tasks.regression import Regression
from groundup.tasks.tagging import Tagging
from groundup.text.tokenizer import TokenizerSpec
from groundup.training.distillation import LiveTeacher
from groundup.training.hidden_states import HiddenStates, paired
from groundup.training.optimization import Optimization
from groundup.training.resume import ExactResume
from groundup.training.schedules import Constant

WORDS = "roses soil flour oven tide anchor é 海".split()
LABELLED = {"tagging": Tagging, "regression": Regression}


def labelled_rows(count: int) -> list[dict]:
    generator = random.Random(1)
    rows = []
    for _ in range(count):
        words = generator.choices(WORDS, k=generator.randint(1, 12))
        tags = ["odd" if len(word) % 2 else "even" for word in words]
        rows.append({"text": " ".join(words), "score": str(len(words)), "tokens": words, "tags": tags})
    return rows


@pytest.fixture(scope="module", params=["masked_lm", "causal_lm", "tagging", "regression"])
def made(request, make_data, make_task):
    """Data of a task, and a function that makes the task with so many layers; each with weights of its own."""
    name = request.param
    if name not in LABELLED:
        data = make_data(name)
        return data, lambda seed, lr=1e-3: _shaken(make_task(name, data, lr=lr), seed)
    kind = LABELLED[name]
    source = GivenRows({"train": labelled_rows(48), "validation": labelled_rows(8)})
    data = TextData(source, kind.examples, TokenizerSpec("char"), Bucketed(batch_size=8), None, seed=1)
    optimize = Optimization(partial(torch.optim.Adam, lr=1e-3), Constant(), total_steps=100)

    def make(seed: int, lr: float = 1e-3):
        model = TransformerEncoder(data.facts.vocab_size, width=32, layers=2, heads=2, dropout=0.0)
        return _shaken(kind(model, data.facts, data.tokenizer, dropout=0.0, optimize=optimize), seed)

    return data, make


def _shaken(task, seed):
    torch.manual_seed(SEED + seed)
    with torch.no_grad():
        for parameter in task.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return task


def first_batch(data, task) -> dict:
    return next(iter(TextDataModule(data, task.collator(), 1).train_dataloader()))


def answers_of(task, batch):
    logits = task.loss(batch).logits.detach()
    return logits if logits.dim() == 1 else logits.log_softmax(-1)


def test_at_alpha_0_the_loss_is_the_plain_one_to_the_bit(made):
    data, make = made
    student, teacher = make(1).eval(), make(2).eval()
    batch = first_batch(data, student)
    plain = student.loss(batch)
    taught = student.loss({**batch, TEACHER: Lesson(answers_of(teacher, batch), 0.0, 3.0)})
    assert torch.equal(plain.total, taught.total) and torch.equal(plain.count, taught.count)
    shared = student.loss({**batch, TEACHER: Lesson(answers_of(teacher, batch), 0.5, 3.0)})
    assert not torch.equal(plain.total, shared.total)
    assert torch.equal(shared.plain, plain.total)  # what is reported stays comparable


def test_a_student_that_answers_as_its_teacher_has_nothing_to_learn_from_it(made):
    data, make = made
    student = make(1).eval()
    batch = first_batch(data, student)
    loss = student.loss({**batch, TEACHER: Lesson(answers_of(student, batch), 1.0, 2.0)})
    loss.total.backward()
    most = max(float(p.grad.abs().max()) for p in student.parameters() if p.grad is not None)
    assert abs(float(loss.total.detach())) < 1e-3 and most < 1e-3


def test_what_is_not_scored_is_not_taught(made):
    data, make = made
    student, teacher = make(1).eval(), make(2).eval()
    batch = first_batch(data, student)
    loss = student.loss(batch)
    counts = torch.ones(len(loss.logits)) if loss.counts is None else loss.counts.float()
    assert counts.sum() == loss.count
    far = Lesson(answers_of(teacher, batch), 1.0, 2.0).alone(loss.logits)
    taught = student.loss({**batch, TEACHER: Lesson(answers_of(teacher, batch), 1.0, 2.0)})
    torch.testing.assert_close(taught.total, (far * counts).sum())


class Watch(Callback):
    """What a training does to a teacher, and how far apart hidden states are."""

    def __init__(self, teacher) -> None:
        self.teacher, self.before, self.apart = teacher, copy.deepcopy(teacher.state_dict()), []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        assert not any(module.training for module in self.teacher.modules())
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in self.teacher.parameters())
        groups = trainer.optimizers[0].param_groups
        trained = {id(parameter) for group in groups for parameter in group["params"]}
        assert trained.isdisjoint(map(id, self.teacher.parameters()))

    def on_fit_end(self, trainer, pl_module) -> None:
        after = self.teacher.state_dict()
        assert all(torch.equal(value, after[name]) for name, value in self.before.items())


@pytest.mark.parametrize("hidden", [0.0, 1.0])
def test_a_live_teacher_is_frozen_in_evaluation_and_no_part_of_its_student(made, quiet_trainer, hidden):
    data, make = made
    student, teacher = make(1), make(2)
    by_rows = student.taught_by == "rows"
    rows = len(data.examples("train").lengths(True))
    live = LiveTeacher(teacher, None, {"train": torch.zeros(rows)} if by_rows else {}, 0.5, 2.0, hidden)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    batches = TextDataModule(data, student.collator(), 3).train_dataloader()
    callbacks = [ExactResume("", SEED), live, Watch(teacher)]
    quiet_trainer(max_steps=3, limit_val_batches=0, callbacks=callbacks).fit(student, train_dataloaders=batches)
    assert student.state_dict().keys() == before.keys()
    assert any(not torch.equal(value, before[name]) for name, value in student.state_dict().items())
    assert bool(live.state_dict()) == bool(hidden)


def test_hidden_states_come_nearer_through_a_map_that_learns(made, quiet_trainer):
    data, make = made
    student, teacher = make(1), make(2)
    if student.taught_by == "rows" or student.model.kind == "decoder":
        pytest.skip("the same code, and the time is spent once on words and once on tokens")
    live, far = LiveTeacher(teacher, None, {}, 0.0, 2.0, 10.0), []

    class Far(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
            far.append(float(batch[TEACHER].apart().detach()))

    batches = TextDataModule(data, student.collator(), 60).train_dataloader()
    callbacks = [ExactResume("", SEED), Far(), live]  # before ``live`` forgets what it saw
    quiet_trainer(max_steps=60, limit_val_batches=0, callbacks=callbacks).fit(student, train_dataloaders=batches)
    assert sum(far[-5:]) < 0.9 * sum(far[:5])


def test_layers_are_spread_evenly_and_widths_may_differ():
    def encoder(layers: int, width: int = 8):
        return TransformerEncoder(20, width=width, layers=layers, heads=2, dropout=0.0)

    teacher = encoder(6, width=16)
    for layers, places in {2: [2, 5], 3: [1, 3, 5], 4: [1, 2, 4, 5], 6: [0, 1, 2, 3, 4, 5]}.items():
        assert [theirs for _, theirs in paired(encoder(layers), teacher)] == [teacher.blocks[p] for p in places]
    states, student = HiddenStates(encoder(2), teacher), encoder(2)
    ids, mask = torch.randint(20, (3, 5)), torch.arange(5) < torch.tensor([[5], [2], [1]])
    states.watch(student, teacher)
    student(ids, mask), teacher(ids, mask)
    distance = states.distance(mask, 1.0)
    ids[~mask] = 7  # what is padded does not count
    student(ids, mask), teacher(ids, mask)
    torch.testing.assert_close(states.distance(mask, 1.0), distance)
    assert not states.state_dict()
