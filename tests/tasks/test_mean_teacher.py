"""Mean teacher: what it answers, what of it is trained on, and that labels of rows without one are never seen."""

from __future__ import annotations

import json
import random

import pytest
import torch
from lightning.pytorch import Callback
from seed import SEED

from groundup.data.augmentation import EDA
from groundup.data.batching import Bucketed
from groundup.data.datamodule import TextDataModule
from groundup.data.labelled import LabelledText
from groundup.data.sources.few_labels import FewLabels
from groundup.data.sources.files import Files
from groundup.data.text_data import UNLABELLED, TextData
from groundup.text.tokenizer import TokenizerSpec
from groundup.training.mean_teacher import MeanTeacher
from groundup.training.resume import ExactResume

STEPS = 6


def opened(source) -> TextData:
    data = TextData(source, LabelledText, TokenizerSpec("word", vocab_size=100), Bucketed(batch_size=8), None, seed=1)
    data.prepare()
    data.examples(UNLABELLED)
    return data


@pytest.fixture(scope="module")
def data(make_data):
    return opened(FewLabels(make_data("classification").source, labelled=30))


@pytest.fixture
def train_with(data, make_task, quiet_trainer):
    """Trains with a teacher, or with none, and rows without a label beside each batch, or not."""

    def run(teacher: MeanTeacher | None, *more: Callback, **words):
        task = make_task("classification", data, lr=3e-3, dropout=0.3)
        batches = TextDataModule(data, task.collator(), STEPS, unlabelled=teacher is not None).train_dataloader()
        callbacks = [ExactResume("", SEED), *([teacher] if teacher else []), *more]
        trainer = quiet_trainer(max_steps=STEPS, limit_val_batches=0, callbacks=callbacks, **words)
        trainer.fit(task, train_dataloaders=batches)
        return task

    return run


class Watch(Callback):
    """Keeps the weights before the first step and after each, and the rows without a label that came with it."""

    def __init__(self):
        self.weights: list[dict] = []
        self.rows: list[dict] = []

    def on_train_start(self, trainer, pl_module) -> None:
        self.weights.append({name: value.clone() for name, value in pl_module.state_dict().items()})

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.rows.append(batch[UNLABELLED])
        self.on_train_start(trainer, pl_module)


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_teacher_is_the_average_of_the_students_and_answers_without_noise(data, make_task, train_with):
    teacher, watch = MeanTeacher(weight=2.0, ramp=0.5, decay=0.9), Watch()
    student = train_with(teacher, watch)
    average, reader = watch.weights[0], make_task("classification", data, dropout=0.3).eval()
    for step, rows in enumerate(watch.rows):
        reader.load_state_dict(average)
        with torch.no_grad():
            torch.testing.assert_close(rows["probabilities"], reader.probabilities(rows))
        assert rows["weights"].tolist() == pytest.approx([teacher.weight_at(step, STEPS)] * len(rows["index"]))
        share = 1 - min(0.9, (2 + step) / (11 + step))
        average = {name: value.lerp(watch.weights[step + 1][name], share) for name, value in average.items()}
    assert {*teacher.average} == {name for name, _ in student.named_parameters()}
    for name, value in teacher.average.items():
        torch.testing.assert_close(value, average[name])
        assert torch.equal(student.get_parameter(name), watch.weights[-1][name])  # the student's own are in their place
    assert student.training


def test_without_weight_the_student_is_trained_as_if_there_were_no_such_rows(train_with):
    plain = train_with(None).state_dict()
    assert same(train_with(MeanTeacher(weight=0)).state_dict(), plain)
    assert not same(train_with(MeanTeacher(weight=1)).state_dict(), plain)


def test_in_bf16_the_teacher_answers_by_its_own_weights(train_with):
    def answers(precision: str) -> torch.Tensor:
        watch = Watch()
        train_with(MeanTeacher(ramp=0), watch, precision=precision)
        return torch.cat([rows["probabilities"] for rows in watch.rows])

    exact, rounded = answers("32-true"), answers("bf16-mixed")
    assert rounded.dtype == torch.float32 and not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, atol=0.02, rtol=0)


@pytest.mark.parametrize("ramp", [0.0, 0.3, 1.0])
def test_the_weight_rises_to_its_full_size_at_the_end_of_the_ramp(ramp):
    weights = [MeanTeacher(weight=3.0, ramp=ramp).weight_at(step, 1000) for step in range(1001)]
    assert weights == sorted(weights)
    full = round(ramp * 1000)
    assert set(weights[full:]) == {3.0} and all(weight < 3.0 for weight in weights[:full])
    assert weights[0] < 0.03 or ramp == 0


def test_loss_is_that_of_the_labels_and_the_distance_of_the_answers_by_weight(data, make_task):
    task = make_task("classification", data, r_drop=1.0).train()  # without dropout: r_drop adds nothing
    batch = next(iter(TextDataModule(data, task.collator(), 1, unlabelled=True).train_dataloader()))
    rows = batch.pop(UNLABELLED)
    plain, answers = task.loss(batch), task.probabilities(rows).detach()
    weights = torch.arange(8.0)
    other = answers.roll(1, dims=1)
    loss = task.loss({**batch, UNLABELLED: {**rows, "probabilities": other, "weights": weights}})
    wanted = sum(weight * ((one - two) ** 2).sum() for weight, one, two in zip(weights, answers, other, strict=True))
    torch.testing.assert_close(loss.total - plain.total, wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(loss.count, plain.count) and torch.equal(loss.plain, plain.total)
    agreeing = task.loss({**batch, UNLABELLED: {**rows, "probabilities": answers, "weights": weights}})
    torch.testing.assert_close(agreeing.total, plain.total)


def test_the_student_reads_changed_rows_and_the_teacher_the_rows_themselves(data, make_task):
    task = make_task("classification", data).train()
    (clean, *_), (batch, *_) = (
        list(TextDataModule(data, task.collator(), 3, augmentations=more, unlabelled=True).train_dataloader())
        for more in ([], [EDA(data.tokenizer, data.examples("train"), rows=1.0)])
    )
    rows = batch[UNLABELLED]
    changed = rows.pop("changed")
    assert same(rows, clean[UNLABELLED])
    assert not torch.equal(changed["input_ids"], rows["input_ids"])
    own = task.probabilities(changed).detach()
    about = {"probabilities": own, "weights": torch.ones(8)}
    assert task.consistency({**rows, "changed": changed, **about}).item() == pytest.approx(0, abs=1e-9)
    assert task.consistency({**rows, **about}).item() > 0


def test_rows_without_a_label_go_on_where_they_stopped_and_no_rank_reads_those_of_another(data, make_task):
    collate = make_task("classification", data).collator()

    def read(**words) -> list[list[int]]:
        module = TextDataModule(data, collate, 9, unlabelled=True, **words)
        return [batch[UNLABELLED]["index"].tolist() for batch in module.train_dataloader()]

    whole = read()
    assert read(start=4) == whole[4:]
    ranks = [
        [batch["index"].tolist() for batch in data.train_loader(collate, 4, 0, rank, 2, split=UNLABELLED)]
        for rank in range(2)
    ]
    assert [batch for pair in zip(*ranks, strict=True) for batch in pair] == whole[:8]
    assert sorted(index for batch in whole[:7] for index in batch) == list(range(50))  # one pass


def test_labels_of_rows_that_are_taken_to_have_none_change_nothing(tmp_path, make_data, make_task):
    rows = make_data("classification").source.rows("train")
    hidden = [row["label"] for row in rows[30:]]

    def batches(name: str, labels: list[str]) -> list[dict]:
        folder = tmp_path / name
        folder.mkdir()
        more = [{**row, "label": label} for row, label in zip(rows[30:], labels, strict=True)]
        for file, lines in {"train": rows[:30], "more": more}.items():
            (folder / f"{file}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        source = Files("train.jsonl", unlabelled="more.jsonl", root=str(folder), text="text", label="label")
        data = opened(source)
        return list(
            TextDataModule(data, make_task("classification", data).collator(), 9, unlabelled=True).train_dataloader()
        )

    one, other = batches("one", hidden), batches("other", random.Random(1).sample(hidden, len(hidden)))
    assert sorted(hidden) != hidden
    for mine, theirs in zip(one, other, strict=True):
        rows = theirs.pop(UNLABELLED)
        assert same(mine.pop(UNLABELLED), rows) and same(mine, theirs)
        assert {*rows} <= {"input_ids", "attention_mask", "index"}
