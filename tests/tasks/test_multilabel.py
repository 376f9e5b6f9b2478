"""Several labels for a text: learned, answered from a threshold on, which may be chosen on validation alone."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
import torch
from seed import SEED

from groundup.baselines.baseline import figures
from groundup.baselines.multilabel import LabelShares
from groundup.data.batching import Bucketed
from groundup.data.datamodule import TextDataModule
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.errors import UserError
from groundup.metrics.multilabel import best_thresholds
from groundup.models.transformer import TransformerEncoder
from groundup.tasks.evaluation import evaluate
from groundup.tasks.multilabel import MultiLabel, MultiLabelledText
from groundup.text.tokenizer import TokenizerSpec
from groundup.training.optimization import Optimization
from groundup.training.schedules import Constant

LABELS = {"fern": "plant", "oak": "plant", "crow": "bird", "owl": "bird", "海": "sea"}


def make_rows(count: int, seed: int) -> list[dict]:
    draw = random.Random(seed)
    texts = [draw.choices([*LABELS, "and", "the"], k=draw.randint(1, 5)) for _ in range(count)]
    return [{"text": " ".join(words), "label": sorted({LABELS[w] for w in words if w in LABELS})} for words in texts]


def make_data(validation=None, size: int = 8) -> TextData:
    splits = {"train": make_rows(60, 1), "validation": validation or make_rows(25, 2)}
    return TextData(GivenRows(splits), MultiLabelledText, TokenizerSpec("word", 300), Bucketed(32, size), None, seed=1)


def make_task(data: TextData, **options) -> MultiLabel:
    torch.manual_seed(SEED)
    optimize = Optimization(partial(torch.optim.Adam, lr=3e-3), Constant(), total_steps=1000)
    model = TransformerEncoder(data.facts.vocab_size, width=32, layers=1, heads=2, dropout=0.0)
    return MultiLabel(model, data.facts, data.tokenizer, **{"dropout": 0.0, "optimize": optimize, **options})


def test_it_learns_lists_of_labels_of_any_length_and_answers_them(learn):
    data = make_data(size=60)
    assert data.facts.labels == ("bird", "plant", "sea")
    assert data.facts.label_counts == tuple(
        sum(name in row["label"] for row in data.texts("train")) for name in data.facts.labels
    )
    task = make_task(data)
    (batch,) = data.train_loader(task.collator(), total=1)
    assert batch["labels"].shape == (60, 3)
    learn(task, batch, lambda task: task.loss(batch).total / batch["labels"].numel() < 0.02)
    found = evaluate(task, data, "train")
    assert found.metrics["subset_accuracy"].value == 1
    for row, said in zip(data.texts("train"), found.predictions, strict=True):
        assert sorted(said["predicted"]) == said["label"] == row["label"]
        assert set(said["probabilities"]) == set(data.facts.labels)
        assert said["predicted"] == sorted(said["predicted"], key=lambda name: -said["probabilities"][name])
    classical = task.classical()
    assert figures([classical], data, ["train"])[classical.name]["train/micro_f1"].value > 0.95
    told = classical.learn(data)("train").predictions
    assert sum(row["predicted"] == row["label"] for row in told) > 0.9 * len(told)
    assert isinstance(classical.simpler(), LabelShares)


def test_figures_do_not_depend_on_the_batch():
    found = [evaluate(make_task(data), data, "validation") for data in (make_data(size=1), make_data(size=7))]
    for name, one in found[0].metrics.items():
        assert found[1].metrics[name].value == pytest.approx(one.value, abs=1e-6)


def test_thresholds_are_those_of_the_validation_split_and_stay_with_the_weights(quiet_trainer):
    data = make_data()
    task = make_task(data, threshold="validation")
    trainer = quiet_trainer(max_steps=12, val_check_interval=6, num_sanity_val_steps=0)
    trainer.fit(task, datamodule=TextDataModule(data, task.collator(), 12))
    with torch.inference_mode():
        batches = [task.eval().evaluate_batch(batch, None) for batch in data.loader("validation", task.collator())]
    table = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    np.testing.assert_allclose(task.thresholds, best_thresholds(**table), atol=1e-5)
    before = task.thresholds.clone()
    evaluate(task, data, "validation")
    assert torch.equal(task.thresholds, before) and not torch.equal(before, torch.full((3,), 0.5))
    other = make_task(data, threshold="validation")
    other.load_state_dict(task.state_dict())
    assert torch.equal(other.thresholds, before)
    fixed = make_task(data, threshold=0.3)
    assert "thresholds" not in fixed.state_dict() and fixed.thresholds.tolist() == pytest.approx([0.3] * 3)


def test_labels_that_training_lacks_and_data_without_labels_are_told():
    with pytest.raises(UserError, match="row 2 of the validation split has the label 'stone'"):
        make_data([{"text": "fern", "label": ["plant"]}, {"text": "oak", "label": ["stone"]}]).prepare()
    rows, spec = [{"text": "fern", "score": 1.0}], TokenizerSpec("word", 30)
    with pytest.raises(UserError, match=r"as in data\.label=COLUMN, or task=regression"):
        _ = TextData(GivenRows({"train": rows}), MultiLabelledText, spec, Bucketed(), None, seed=1).facts


def test_labels_in_one_cell_are_told(caplog):
    for labels, told in ((["a", "b", "a;b"], True), (["a", "a;b", "a;c", "c;a;b"], True), (["a", "b", "c;d"], False)):
        caplog.clear()
        rows = [{"text": "x", "label": one} for one in labels]
        MultiLabelledText.label_names(GivenRows({"train": rows}))
        assert ("the label 'a;b' looks like 2 of them. Try data.label_separator=';'" in caplog.messages) == told


def test_a_label_that_is_said_is_told_however_many_are_likelier():
    names = [f"topic {number}" for number in range(130)]
    train = [{"text": "oak", "label": [name]} for name in names]
    rows = [{"text": "fern oak", "label": names[:3]}, {"text": "owl", "label": []}]
    source = GivenRows({"train": train, "validation": rows})
    data = TextData(source, MultiLabelledText, TokenizerSpec("word", 300), Bucketed(32, 8), None, seed=1)
    task = make_task(data, threshold=0.01)
    found = evaluate(task, data, "validation")
    assert [len(row["predicted"]) for row in found.predictions] == [130, 130]
    assert [len(row["probabilities"]) for row in found.predictions] == [100, 100]
    assert found.metrics["micro_recall"].value == 1
