"""Figures of several labels a row are those of scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, log_loss, roc_auc_score

from groundup.metrics.multilabel import (
    Precision,
    best_thresholds,
    judge_labels,
    multilabel_metrics,
    multilabel_sections,
)


def answers(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with ties, and labels, some of which nobody has."""
    draw = np.random.default_rng(seed)
    n, count = draw.integers(2, 40), draw.integers(1, 6)
    truth = draw.random((n, count)) < draw.random(count)
    probabilities = np.clip(draw.random((n, count)) + 0.3 * truth, 0, 1)
    return (np.round(probabilities, 1) if seed % 2 else probabilities), truth


@pytest.mark.parametrize("seed", range(200))
def test_figures_equal_scikit_learn(seed):
    probabilities, truth = answers(seed)
    thresholds = np.random.default_rng(seed).choice([0.3, 0.5, 0.7], size=truth.shape[1])
    found = {name: one.value for name, one in multilabel_metrics(probabilities, truth, thresholds, resamples=0).items()}
    said = probabilities >= thresholds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn takes one label for a problem of two classes
        for average in ("micro", "macro"):
            expected = f1_score(truth, said, average="binary" if truth.shape[1] == 1 else average, zero_division=0)
            assert found[f"{average}_f1"] == pytest.approx(expected)
    assert found["subset_accuracy"] == pytest.approx(accuracy_score(truth, said))
    known = [label for label in range(truth.shape[1]) if 0 < truth[:, label].sum() < len(truth)]
    for name, score in (("mean_average_precision", average_precision_score), ("auroc", roc_auc_score)):
        assert (name in found) == bool(known)
        if known:
            each = [score(truth[:, label], probabilities[:, label]) for label in known]
            assert found[name] == pytest.approx(np.mean(each))
    clipped = np.clip(probabilities, 1e-12, 1 - 1e-12)
    if not ((probabilities == 0) | (probabilities == 1)).any():
        each = [log_loss(truth[:, label], clipped[:, label], labels=[0, 1]) for label in range(truth.shape[1])]
        assert found["loss"] == pytest.approx(np.mean(each))


def test_weights_say_the_same_as_rows_drawn_several_times():
    probabilities, truth = answers(5)
    weights = np.random.default_rng(0).integers(0, 4, size=(len(truth), 6))
    found = Precision(probabilities[:, 0], truth[:, 0]).area(weights)
    for column in range(6):
        rows = np.repeat(np.arange(len(truth)), weights[:, column])
        assert found[column] == pytest.approx(average_precision_score(truth[rows, 0], probabilities[rows, 0]))


@pytest.mark.parametrize("seed", range(0, 60, 7))
def test_no_threshold_is_better_than_the_chosen_one(seed):
    probabilities, truth = answers(seed)
    chosen = best_thresholds(probabilities, truth)
    for label in range(truth.shape[1]):
        if not truth[:, label].any():
            assert chosen[label] == 0.5
            continue
        best = max(
            f1_score(truth[:, label], probabilities[:, label] >= at) for at in np.unique(probabilities[:, label])
        )
        assert f1_score(truth[:, label], probabilities[:, label] >= chosen[label]) == pytest.approx(best)


def test_intervals_hold_the_value_and_the_report_shows_labels_and_mistakes():
    probabilities, truth = answers(4)
    found = multilabel_metrics(np.tile(probabilities, (9, 1)), np.tile(truth, (9, 1)))
    assert all(one.low <= one.value <= one.high for one in found.values())
    rows = [
        {"text": "fern", "label": ["a", "b"], "predicted": ["a"]},
        {"text": "oak", "label": [], "predicted": []},
        {"text": "crow", "label": ["a"], "predicted": ["b"]},
    ]
    labels, wrong = multilabel_sections(rows, ["a", "b"])
    assert labels.parts[0].rows == [["a", "1.000", "0.500", "0.667", "2"], ["b", "0.000", "0.000", "0.000", "1"]]
    assert [row[1:] for row in wrong.parts[0].rows] == [["a", "b"], ["a, b", "a"]]
    assert multilabel_sections([], ["a"]) == []


def test_rows_are_judged_as_the_split_is():
    probabilities, truth = answers(12)
    said, names = probabilities >= 0.5, [str(place) for place in range(truth.shape[1])]
    rows = [
        {"label": [n for n, one in zip(names, t) if one], "predicted": [n for n, one in zip(names, s) if one]}
        for t, s in zip(truth, said, strict=True)
    ]
    judged = judge_labels([{**row, "probabilities": dict.fromkeys(names, 0.5)} for row in rows])
    found = multilabel_metrics(probabilities, truth, resamples=0)
    for metric, statistic in judged.statistics.items():
        assert statistic(np.ones((len(rows), 1)))[0] == pytest.approx(found[metric.name].value)
    assert judged.quality.mean() == pytest.approx(found["subset_accuracy"].value)
