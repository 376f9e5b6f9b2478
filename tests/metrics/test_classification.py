"""Classification metrics equal scikit-learn's, and their intervals cover what they should."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from timing import processor_seconds

from groundup.metrics.classification import classification_metrics, macro_scores


def random_case(rng, n, classes, labels=None, ties=False):
    probabilities = rng.dirichlet(np.ones(classes), n)
    if ties:
        probabilities = np.round(probabilities, 1) + 1e-3
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities, rng.integers(0, classes, n) if labels is None else rng.choice(labels, n)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("classes", "labels"), [(2, None), (3, None), (7, None), (5, [0, 1, 3]), (4, [2])])
@pytest.mark.parametrize("ties", [False, True])
def test_equal_to_scikit_learn(seed, classes, labels, ties):
    rng = np.random.default_rng(seed)
    probabilities, truth = random_case(rng, 60, classes, labels, ties)
    result = {name: e.value for name, e in classification_metrics(probabilities, truth, resamples=50).items()}
    result.pop("ece")  # see test_calibration
    predicted = probabilities.argmax(axis=1)
    expected = {
        "loss": reference.log_loss(truth, probabilities, labels=range(classes)),
        "accuracy": reference.accuracy_score(truth, predicted),
    }
    for average in ("macro", "micro"):
        parts = reference.precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        expected |= dict(zip((f"{average}_precision", f"{average}_recall", f"{average}_f1"), parts, strict=False))
    present = [c for c in range(classes) if 0 < (truth == c).sum() < len(truth)]
    if present:
        areas = [reference.roc_auc_score(truth == c, probabilities[:, c]) for c in present]
        expected["auroc"] = np.mean(areas)
    assert result == pytest.approx(expected, abs=1e-6)


def test_auroc_is_left_out_when_there_is_one_class():
    result = classification_metrics(np.full((10, 3), 1 / 3), np.zeros(10, dtype=int), resamples=20)
    assert "auroc" not in result
    assert result["accuracy"].value == 1.0


def test_auroc_equals_torchmetrics():
    from torchmetrics.functional.classification import multiclass_auroc

    rng = np.random.default_rng(3)
    probabilities, truth = random_case(rng, 200, 5, ties=True)
    expected = multiclass_auroc(torch.tensor(probabilities), torch.tensor(truth), num_classes=5, average="macro")
    assert classification_metrics(probabilities, truth, resamples=20)["auroc"].value == pytest.approx(
        float(expected), abs=1e-6
    )


def test_tensors_arrays_and_half_precision_agree():
    rng = np.random.default_rng(0)
    probabilities, truth = random_case(rng, 80, 3)
    a = classification_metrics(probabilities, truth)
    b = classification_metrics(torch.tensor(probabilities), torch.tensor(truth))
    c = classification_metrics(
        torch.tensor(probabilities, dtype=torch.bfloat16, requires_grad=True), torch.tensor(truth)
    )
    assert a == b
    assert c["auroc"].value == pytest.approx(a["auroc"].value, abs=0.02)


def test_certain_and_wrong_has_a_finite_loss():
    result = classification_metrics(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1, 1]))
    assert 10 < result["loss"].value < 100


@pytest.mark.parametrize("seed", range(10))
def test_macro_scores_of_many_tables_equal_those_of_each(seed):
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, 6, (2, 9))  # pairs may repeat, classes may be absent
    tables = rng.integers(0, 4, (5, 9))
    tables[:, 0] += 1
    found = macro_scores(tables, labels, predictions)
    for number, counts in enumerate(tables):
        rows = np.repeat(np.arange(9), counts)
        parts = reference.precision_recall_fscore_support(
            labels[rows], predictions[rows], average="macro", zero_division=0
        )
        scores = [found[f"macro_{name}"][number] for name in ("precision", "recall", "f1")]
        assert scores == pytest.approx(list(parts[:3]))


def test_memory_grows_with_the_rows_and_not_with_the_square_of_the_classes():
    n, classes = 1000, 4000
    rng = np.random.default_rng(0)
    probabilities = rng.random((n, classes), dtype=np.float32)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    tracemalloc.start()
    result = classification_metrics(probabilities, rng.integers(0, classes, n))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000_000  # one C x C table of counts is 128 MB, and a bootstrap made hundreds
    assert result["macro_f1"].low is not None


@pytest.mark.parametrize("bad", [(np.ones((0, 2)), []), (np.ones((3, 2)), [0, 1]), (np.ones(3), [0, 1, 0])])
def test_shapes_that_do_not_fit_raise(bad):
    with pytest.raises(ValueError, match="probabilities"):
        classification_metrics(*bad)


def test_intervals_contain_the_value_and_shrink_with_more_rows():
    rng = np.random.default_rng(1)
    widths = []
    for n in (200, 3200):
        probabilities, truth = random_case(rng, n, 3)
        result = classification_metrics(probabilities, truth)
        assert all(e.low <= e.value <= e.high for e in result.values())
        widths.append({name: e.high - e.low for name, e in result.items()})
    assert all(2.5 < widths[0][name] / widths[1][name] < 6 for name in widths[0])  # by sqrt(16)


def test_intervals_equal_those_of_drawing_rows_one_by_one():
    rng = np.random.default_rng(2)
    probabilities, truth = random_case(rng, 150, 3)
    probabilities[np.arange(150), truth] += 0.4
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    drawn = {"macro_f1": [], "auroc": [], "loss": []}
    for _ in range(400):
        rows = rng.integers(0, 150, 150)
        p, y = probabilities[rows], truth[rows]
        drawn["macro_f1"].append(reference.f1_score(y, p.argmax(axis=1), average="macro"))
        drawn["auroc"].append(reference.roc_auc_score(y, p, multi_class="ovr"))
        drawn["loss"].append(reference.log_loss(y, p))
    result = classification_metrics(probabilities, truth)
    for name, values in drawn.items():
        low, high = np.percentile(values, (2.5, 97.5))
        width = high - low
        assert (result[name].low, result[name].high) == pytest.approx((low, high), abs=width / 6)


def test_the_same_seed_gives_the_same_intervals():
    case = random_case(np.random.default_rng(5), 100, 4)
    assert classification_metrics(*case, seed=1) == classification_metrics(*case, seed=1)
    assert classification_metrics(*case, seed=1) != classification_metrics(*case, seed=2)


def test_a_large_test_split_takes_seconds():
    case = random_case(np.random.default_rng(0), 7600, 4)
    assert processor_seconds(lambda: classification_metrics(*case), enough=3) < 3
