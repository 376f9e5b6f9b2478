"""Correlations and errors are those of scipy and scikit-learn; what does not vary gives no NaN."""

from __future__ import annotations

import json
import math
import warnings

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import mean_absolute_error, mean_squared_error

from groundup.metrics.regression import (
    _correlation,
    _rank_correlation,
    _Ranks,
    judge_scores,
    regression_metrics,
    regression_sections,
)
from groundup.metrics.sections import Scatter, Table, sections_from


def numbers(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Gold and predicted scores: with ties, on odd scales, sometimes all the same."""
    draw = np.random.default_rng(seed)
    count = int(draw.integers(2, 60))
    gold = draw.normal(size=count) * 10.0 ** draw.integers(-3, 6) + draw.integers(-5, 6)
    predicted = gold * draw.choice([-1, 0, 1]) + draw.normal(size=count) * draw.choice([0.1, 1, 100])
    if seed % 3 == 0:
        gold, predicted = np.round(gold, 0), np.round(predicted, 0)
    if seed % 10 == 0:
        predicted = np.full(count, draw.normal())
    return gold, predicted


@pytest.mark.parametrize("seed", range(200))
def test_figures_equal_scipy_and_scikit_learn(seed):
    gold, predicted = numbers(seed)
    found = {name: one.value for name, one in regression_metrics(gold, predicted, resamples=0).items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of inputs that do not vary
        pearson, spearman = (float(one(gold, predicted)[0]) for one in (pearsonr, spearmanr))
    assert found["pearson"] == pytest.approx(0 if math.isnan(pearson) else pearson, abs=1e-9)
    assert found["spearman"] == pytest.approx(0 if math.isnan(spearman) else spearman, abs=1e-9)
    assert found["mae"] == pytest.approx(mean_absolute_error(gold, predicted))
    assert found["mse"] == pytest.approx(mean_squared_error(gold, predicted))


@pytest.mark.parametrize("seed", range(1, 20, 3))
@pytest.mark.filterwarnings("ignore")
def test_weights_say_the_same_as_rows_drawn_several_times(seed):
    gold, predicted = numbers(seed)
    weights = np.random.default_rng(seed).multinomial(len(gold), np.full(len(gold), 1 / len(gold)), size=5).T
    ranked = _rank_correlation(_Ranks(gold), _Ranks(predicted), weights)
    plain = _correlation(gold, predicted, weights)
    for column, (rank, linear) in enumerate(zip(ranked, plain, strict=True)):
        ours, theirs = (np.repeat(side, weights[:, column]) for side in (gold, predicted))
        assert rank == pytest.approx(spearmanr(ours, theirs)[0], nan_ok=True)
        assert linear == pytest.approx(pearsonr(ours, theirs)[0], nan_ok=True)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("predicted", [[2.7] * 40, [0.1 + 0.2] * 20 + [0.3] * 20, [1e150] * 40])
def test_predictions_that_do_not_vary_give_no_nan(predicted):
    gold = np.arange(40) % 7 / 3
    found = regression_metrics(gold, predicted)
    assert found["pearson"].value == found["spearman"].value == 0
    assert "NaN" not in json.dumps({name: one.as_dict() for name, one in found.items()})
    assert (found["pearson"].low, found["pearson"].high) == (None, None)
    (one,) = {one.value for name, one in regression_metrics([3.0], [3.5]).items() if name == "pearson"}
    assert one == 0


def test_intervals_hold_the_value_and_directions_are_known():
    gold, predicted = numbers(7)
    found = regression_metrics(np.tile(gold, 9), np.tile(predicted, 9), losses=np.ones(9 * len(gold)))
    assert all(one.low <= one.value <= one.high for one in found.values())
    assert {name: one.metric.better for name, one in found.items()} == {
        "pearson": "max", "spearman": "max", "mae": "min", "mse": "min", "loss": "min"
    }  # fmt: skip
    with pytest.raises(ValueError, match="N > 0"):
        regression_metrics([], [])


def test_rows_are_judged_as_the_split_is():
    gold, predicted = numbers(8)
    judged = judge_scores([{"score": x, "predicted": y} for x, y in zip(gold, predicted, strict=True)])
    found = regression_metrics(gold, predicted, resamples=0)
    for metric, statistic in judged.statistics.items():
        assert statistic(np.ones((len(gold), 1)))[0] == pytest.approx(found[metric.name].value)
    assert -judged.quality.mean() == pytest.approx(found["mae"].value)


def test_the_report_shows_dots_ranges_and_the_largest_mistakes():
    rows = [{"text": f"row {i}", "text_pair": "海", "score": i / 10, "predicted": i / 10} for i in range(51)]
    rows[20]["predicted"] = 4.5
    picture, ranges, worst = sections_from([one.as_dict() for one in regression_sections(rows)])
    assert isinstance(picture.parts[0], Scatter) and picture.parts[0].points[20] == (2.0, 4.5)
    assert isinstance(ranges.parts[0], Table)
    assert [row[0] for row in ranges.parts[0].rows] == [f"{low}.00 to {low + 1}.00" for low in range(5)]
    assert sum(int(row[4]) for row in ranges.parts[0].rows) == 51 and ranges.parts[0].rows[2][3] == "0.25"
    first = worst.parts[0].rows[0]
    assert (first[0].text, first[0].below, *first[1:]) == ("row 20", ["海"], "2.00", "4.50", "2.50")
    assert regression_sections([]) == []
