from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import binomtest

from groundup.metrics.estimate import Estimate
from groundup.metrics.intervals import bootstrap, interval, resample_weights, wilson


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (7, 10), (431, 500), (1, 1), (0, 1)])
def test_wilson_equals_scipy(k, n):
    expected = binomtest(k, n).proportion_ci(method="wilson")
    estimate = wilson(k, n)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_no_rows_have_no_share():
    assert math.isnan(wilson(0, 0).value)


def test_every_resample_draws_as_many_rows_as_there_are():
    weights = np.concatenate(list(resample_weights(37, resamples=100)), axis=1)
    assert weights.shape == (37, 100)
    assert (weights.sum(axis=0) == 37).all()
    assert weights.mean() == 1
    assert weights.var() == pytest.approx(1 - 1 / 37, abs=0.1)


def test_large_tables_get_fewer_resamples():
    assert sum(w.shape[1] for w in resample_weights(100_000, columns=10)) == 200


def test_bootstrap_of_a_mean_covers_the_true_mean_in_95_of_100():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        values = rng.normal(3, 1, 60)
        estimate = bootstrap(lambda w, v=values: v @ w / 60, 60, seed=trial, resamples=400)
        covered += estimate.low <= 3 <= estimate.high
    assert 0.90 <= covered / 300 <= 0.98


def test_one_row_has_no_interval():
    assert bootstrap(lambda w: w.sum(axis=0), 1) == Estimate(1.0, None, None, 1)


def test_undefined_resamples_are_left_out():
    assert interval(1.0, np.array([np.nan, 1.0, 1.0]), 5) == Estimate(1.0, 1.0, 1.0, 5)
    assert interval(1.0, np.array([np.nan]), 5) == Estimate(1.0, None, None, 5)


def test_an_estimate_survives_its_json_form():
    estimate = Estimate(0.5, 0.4, 0.6, 100)
    assert Estimate.from_dict(json.loads(json.dumps(estimate.as_dict()))) == estimate
    assert estimate.as_dict() == {"value": 0.5, "ci95": [0.4, 0.6], "n": 100}
    assert math.isnan(Estimate.from_dict({"value": None, "ci95": [None, None], "n": 3}).value)
    assert str(estimate) == "0.5000 [0.4000, 0.6000]"
    assert str(Estimate(0.5, None, None, 1)) == "0.5000"


def test_the_signature_is_kept_where_there_is_one():
    estimate = Estimate(31.5, 30.0, 33.0, 100, "nrefs:1|tok:zh")
    assert Estimate.from_dict(json.loads(json.dumps(estimate.as_dict()))) == estimate
    assert "signature" not in Estimate(0.5, None, None, 1).as_dict()
