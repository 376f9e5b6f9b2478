"""Calibration equal to other packages', temperature scaling that finds what was done, curves and slices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import auc
from torchmetrics.functional.classification import multiclass_calibration_error

from groundup.metrics.calibration import (
    calibration_error,
    fitted_temperature,
    scaled,
    slice_section,
    threshold_sections,
)


def answers(n: int, seed: int, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that are right as often as they say, for a ``sharpness`` of 1; and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, 4))
    exact = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (exact.cumsum(1) < rng.random((n, 1))).sum(1).clip(max=3)
    sharp = np.exp(logits * sharpness)
    return sharp / sharp.sum(1, keepdims=True), labels


@pytest.mark.parametrize("seed", range(20))
def test_the_calibration_error_is_that_of_torchmetrics_for_resampled_rows_too(seed):
    probabilities, labels = answers(60, seed)
    weights = np.random.default_rng(seed).integers(0, 3, 60)
    statistic = calibration_error(probabilities.max(1), probabilities.argmax(1) == labels)
    for times in (np.ones(60, dtype=int), weights):
        drawn = np.repeat(np.arange(60), times)
        sides = torch.from_numpy(probabilities[drawn]), torch.from_numpy(labels[drawn])
        want = multiclass_calibration_error(*sides, num_classes=4, n_bins=15, norm="l1")
        assert statistic(times[:, None].astype(np.float32))[0] == pytest.approx(float(want), abs=1e-5)


@pytest.mark.parametrize("sharpness", [0.4, 1.0, 3.0])
def test_a_fitted_temperature_undoes_what_made_the_model_too_sure_and_changes_no_answer(sharpness):
    probabilities, labels = answers(20_000, 0, sharpness)
    temperature = fitted_temperature(probabilities, labels)
    assert temperature == pytest.approx(sharpness, rel=0.05)
    better = scaled(probabilities, temperature)
    assert (better.argmax(1) == probabilities.argmax(1)).all() and better.sum(1) == pytest.approx(1)
    assert np.allclose(scaled(probabilities, 1.0), probabilities)


def test_curves_hold_the_area_of_the_whole_and_binary_ones_are_drawn_once():
    probabilities, labels = answers(3000, 1)
    calibration, ranked = threshold_sections(probabilities, labels, ["a", "b", "c", "d"])
    roc, precision = ranked.parts
    assert [*roc.lines] == [*precision.lines] == ["a", "b", "c", "d"]
    for c, line in enumerate(roc.lines.values()):
        positive, negative = probabilities[labels == c, c], probabilities[labels != c, c]
        area = (positive[:, None] > negative).mean() + (positive[:, None] == negative).mean() / 2
        assert auc(*zip(*line)) == pytest.approx(area, abs=0.01)
    dots = calibration.parts[0].lines["predictions"]
    assert all(abs(x - y) < 0.1 for x, y in dots)  # as often right as they say
    two = threshold_sections(probabilities[:, :2] / probabilities[:, :2].sum(1, keepdims=True), labels % 2, ["a", "b"])
    assert len(two[1].parts[0].lines) == 1
    assert (
        len(threshold_sections(probabilities[:5], np.zeros(5, dtype=int), ["a", "b", "c", "d"])) == 1
    )  # nothing to rank


def test_slices_part_all_rows_and_one_that_does_not_is_left_out():
    rng = np.random.default_rng(0)
    length = rng.integers(1, 100, 300)
    right = (length < 50).astype(float)
    features = {"length": length, "constant": np.ones(300), "unknown": np.full(300, np.nan)}
    (section,) = slice_section(right, {**features, "long / short": length > 49})
    table = section.parts[0]
    assert [row[0].split()[0] for row in table.rows] == ["length"] * 3 + ["long", "short"]
    assert sum(int(row[3]) for row in table.rows[:3]) == 300
    assert [row[1] for row in table.rows[3:]] == ["0.000", "1.000"]
    assert slice_section(right, {"constant": np.ones(300)}) == []
