from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from groundup.metrics.classification import paired_difference


def test_differences_equal_scikit_learn_and_swap_sign():
    rng = np.random.default_rng(0)
    labels, a, b = rng.integers(0, 4, (3, 300))
    a[:150] = labels[:150]
    result = paired_difference(a, b, labels)
    assert result["accuracy"].value == pytest.approx((a == labels).mean() - (b == labels).mean())
    f1 = [f1_score(labels, said, average="macro") for said in (a, b)]
    assert result["macro_f1"].value == pytest.approx(f1[0] - f1[1])
    assert paired_difference(b, a, labels)["accuracy"].value == pytest.approx(-result["accuracy"].value)
    assert all(e.low > 0 for e in result.values())


def test_a_model_does_not_differ_from_itself():
    rng = np.random.default_rng(0)
    labels, said = rng.integers(0, 3, (2, 100))
    result = paired_difference(said, said, labels)
    assert all((e.value, e.low, e.high) == (0, 0, 0) for e in result.values())


def test_pairing_gives_a_narrower_interval_than_two_independent_ones():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 1000)
    a = np.where(rng.random(1000) < 0.7, labels, 1 - labels)
    b = a.copy()
    b[:20] = 1 - labels[:20]  # the same mistakes but for a few rows
    estimate = paired_difference(a, b, labels)["accuracy"]
    independent = 2 * 1.96 * np.sqrt(2 * 0.7 * 0.3 / 1000)
    assert estimate.high - estimate.low < independent / 2
