"""Classification: weights, smoothing, metrics and predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, log_loss
from sklearn.utils.class_weight import compute_class_weight

from groundup.errors import UserError
from groundup.metrics.classes import NAMED, named_classes
from groundup.tasks.classification import Classification
from groundup.tasks.evaluation import evaluate


@pytest.fixture(scope="module")
def data(make_data):
    return make_data("classification")


def test_balanced_weights_equal_sklearn(data, make_task):
    labels = [row["label"] for row in data.texts("train")]
    expected = compute_class_weight("balanced", classes=np.array(data.facts.labels), y=labels)
    task = make_task("classification", data, class_weights="balanced")
    np.testing.assert_allclose(task.class_weights.numpy(), expected, rtol=1e-6)


def test_a_class_without_rows_leaves_balanced_weights_finite(data, make_task):
    model = make_task("classification", data).model
    labels = [0] * 5 + [2] * 3
    task = Classification(model, replace(data.facts, label_counts=(5, 0, 3)), data.tokenizer, class_weights="balanced")
    expected = compute_class_weight("balanced", classes=np.array([0, 2]), y=labels)
    np.testing.assert_allclose(task.class_weights.numpy(), [expected[0], 1.0, expected[1]], rtol=1e-6)
    loss = task.loss(next(iter(data.train_loader(task.collator()))))
    assert (loss.total / loss.count).isfinite()


def test_weighted_loss_is_that_of_torch(data, make_task):
    task = make_task("classification", data, class_weights=[1.0, 2.0, 5.0], label_smoothing=0.1).eval()
    batch = next(iter(data.train_loader(task.collator())))
    loss = task.loss(batch)
    wanted = torch.nn.functional.cross_entropy(
        task.logits(batch), batch["labels"], weight=torch.tensor([1.0, 2.0, 5.0]), label_smoothing=0.1
    )
    torch.testing.assert_close(loss.total / loss.count, wanted)


def test_wrong_number_of_weights_names_the_classes(data, make_task):
    with pytest.raises(UserError, match=r"class_weights has 2 numbers for 3 classes: .* of garden, kitchen, sea"):
        make_task("classification", data, class_weights=[1.0, 2.0])


@pytest.mark.parametrize("words", [{"label_smoothing": 0.3}, {"class_weights": "balanced"}])
def test_smoothing_and_weights_change_training_but_never_the_reported_loss(words, data, make_task, train):
    reported, trained = [], []
    for chosen in ({}, words):
        task = make_task("classification", data, **chosen)
        batch = next(iter(data.train_loader(task.collator())))
        results = evaluate(task, data, "validation", final=False)
        reported.append(results.metrics["loss"].value)
        train(task, [batch], 2)
        trained.append(task.state_dict()["head.linear.weight"])
    assert reported[0] == reported[1]
    assert not torch.allclose(trained[0], trained[1], atol=1e-5)


def test_metrics_equal_sklearn_on_the_predictions(data, make_task, train):
    task = make_task("classification", data, lr=3e-3)
    train(task, list(data.train_loader(task.collator())), 10)
    results = evaluate(task, data, "validation", final=False)
    truth = [row["label"] for row in data.texts("validation")]
    assert [row["label"] for row in results.predictions] == truth
    predicted = [row["predicted"] for row in results.predictions]
    probabilities = [[row["probabilities"][name] for name in data.facts.labels] for row in results.predictions]
    assert results.metrics["accuracy"].value == pytest.approx(accuracy_score(truth, predicted))
    assert results.metrics["macro_f1"].value == pytest.approx(f1_score(truth, predicted, average="macro"))
    rows = np.array(probabilities, dtype=np.float64)
    wanted = log_loss(truth, rows / rows.sum(1, keepdims=True), labels=list(data.facts.labels))
    assert results.metrics["loss"].value == pytest.approx(wanted, rel=1e-5)


def test_prediction_of_a_row_is_that_of_its_evaluation(data, make_task):
    task = make_task("classification", data)
    results = evaluate(task, data, "validation", final=False)
    texts = [{"text": row["text"]} for row in data.texts("validation")]
    answers = {}
    with torch.no_grad():
        for batch in data.rows_loader(texts, task.collator(), 7)[0]:
            assert "labels" not in batch
            answers.update(zip(batch["index"].tolist(), task.eval().predict_batch(batch), strict=True))
    for index, row in enumerate(results.predictions):
        answer = answers[index]
        assert answer["predicted"] == max(answer["probabilities"], key=answer["probabilities"].get)
        assert answer["probability"] == pytest.approx(answer["probabilities"][answer["predicted"]])
        assert answer["probabilities"] == pytest.approx(row["probabilities"], abs=1e-5)


def test_of_very_many_classes_a_prediction_lists_the_likeliest():
    names = tuple(f"class {number}" for number in range(NAMED + 50))
    probabilities = torch.rand(4, len(names), generator=torch.Generator().manual_seed(0)).softmax(-1)
    for row, answer in zip(probabilities.tolist(), named_classes(probabilities.numpy(), names), strict=True):
        likeliest = sorted(row, reverse=True)[:NAMED]
        assert list(answer["probabilities"].values()) == likeliest
        assert answer["predicted"] == names[row.index(max(row))]
