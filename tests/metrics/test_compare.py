"""Paired tests: equal to brute force, and silent where there is nothing to find."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from groundup.metrics.classification import judge_classes
from groundup.metrics.estimate import Metric
from groundup.metrics.generation import judge_summaries, judge_translations
from groundup.metrics.intervals import resample_weights
from groundup.metrics.overlap import bleu, chrf, rouge
from groundup.metrics.paired import Judged, difference, mcnemar, swapped_p
from groundup.metrics.tagging import judge_tags, tagging_metrics

NAMES = ["a", "b", "c"]
ACCURACY = Metric("accuracy")


def classified(n: int, seed: int, right: float = 0.6) -> list[dict]:
    """Rows with the same labels for every seed."""
    labels = np.random.default_rng(99).integers(0, 3, n)
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (n, 3))
    logits[np.arange(n), labels] += np.where(rng.random(n) < right, 2.0, 0.0)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return [
        {
            "label": NAMES[label],
            "predicted": NAMES[row.argmax()],
            "probabilities": dict(zip(NAMES, row.tolist(), strict=True)),
        }
        for label, row in zip(labels, shares, strict=True)
    ]


def by_scikit_learn(rows: list[dict]) -> dict[str, float]:
    labels, said = ([row[key] for row in rows] for key in ("label", "predicted"))
    shares = np.array([[row["probabilities"][name] for name in NAMES] for row in rows])
    there = [place for place, name in enumerate(NAMES) if 0 < labels.count(name) < len(labels)]
    areas = [roc_auc_score([name == NAMES[c] for name in labels], shares[:, c]) for c in there]
    return {
        "accuracy": accuracy_score(labels, said),
        "macro_f1": macro_f1(rows),
        "auroc": float(np.mean(areas)),
        "loss": log_loss(labels, shares, labels=NAMES),
    }


def macro_f1(rows: list[dict]) -> float:
    return f1_score([row["label"] for row in rows], [row["predicted"] for row in rows], average="macro")


def judged_accuracy(right: np.ndarray) -> Judged:
    return Judged(right, {ACCURACY: lambda weights: right @ weights / weights.sum(axis=0)})


def by_name(judged: Judged, name: str) -> Metric:
    return next(metric for metric in judged.statistics if metric.name == name)


@pytest.mark.parametrize("seed", range(5))
def test_weights_say_the_same_as_drawn_rows_for_scikit_learn(seed):
    rows = classified(30, seed)
    judged = judge_classes(rows)
    (weights,) = resample_weights(len(rows), seed=seed, resamples=20)
    for column in range(weights.shape[1]):
        drawn = [row for row, times in zip(rows, weights[:, column], strict=True) for _ in range(int(times))]
        for name, value in by_scikit_learn(drawn).items():
            assert judged.statistics[by_name(judged, name)](weights)[column] == pytest.approx(value, abs=1e-6), name


def test_weights_say_the_same_as_drawn_sentences_for_entities_and_texts():
    rng = np.random.default_rng(0)
    tags = ["O", "O", "B-x", "I-x", "B-y"]
    tagged = [{key: list(rng.choice(tags, size)) for key in ("tags", "predicted")} for size in rng.integers(1, 9, 25)]
    words = ["red", "green", "blue", "old", "new"]
    texts = [
        {key: " ".join(rng.choice(words, rng.integers(3, 9))) for key in ("target", "hypothesis")} for _ in range(25)
    ]
    (weights,) = resample_weights(25, resamples=8)
    for column in range(8):
        picked = [place for place in range(25) for _ in range(int(weights[place, column]))]
        drawn = [tagged[place] for place in picked]
        gold, predicted = [row["tags"] for row in drawn], [row["predicted"] for row in drawn]
        want = tagging_metrics(gold, predicted, "bio", resamples=0)
        said = [texts[place]["hypothesis"] for place in picked], [[texts[place]["target"]] for place in picked]
        want |= {"bleu": bleu(*said, resamples=0), "chrf": chrf(*said, resamples=0), **rouge(*said, resamples=0)}
        for judged in (judge_tags(tagged), judge_translations(texts), judge_summaries(texts)):
            for metric, statistic in judged.statistics.items():
                if metric.name in want:
                    assert statistic(weights)[column] == pytest.approx(want[metric.name].value, abs=1e-5), metric


def test_the_interval_is_that_of_brute_force_and_swapping_sides_swaps_its_sign():
    sides = [classified(40, seed) for seed in (1, 2)]
    ours, theirs = ([(slice(0, 40), judge_classes(rows))] for rows in sides)
    (weights,) = resample_weights(40, resamples=100)
    gaps = []
    for column in weights.T:
        drawn = [[row for row, times in zip(rows, column, strict=True) for _ in range(int(times))] for rows in sides]
        gaps.append(np.subtract(*(macro_f1(rows) for rows in drawn)))
    metric = by_name(ours[0][1], "macro_f1")
    found, back = (difference(*sides, metric, 40, resamples=100) for sides in ((ours, theirs), (theirs, ours)))
    assert [found.low, found.high] == pytest.approx(np.percentile(gaps, [2.5, 97.5]), abs=1e-6)
    assert [found.value, found.low, found.high] == pytest.approx([-back.value, -back.high, -back.low])


@pytest.mark.parametrize("seed", range(5))
def test_the_p_value_of_few_rows_is_that_of_all_swaps(seed):
    ours, theirs = np.random.default_rng(seed).integers(0, 2, (2, 8)).astype(float)
    seen = abs(ours.mean() - theirs.mean())
    reached = [
        abs(np.where(swap, theirs, ours).mean() - np.where(swap, ours, theirs).mean()) >= seen - 1e-12
        for swap in product([False, True], repeat=8)
    ]
    both = [(slice(0, 8), judged_accuracy(np.concatenate([ours, theirs])))]
    assert swapped_p(both, ACCURACY, 8) == np.mean(reached)


@pytest.mark.parametrize("rows", [400, 1100])
def test_random_swaps_come_to_the_p_value_of_mcnemar(rows):
    rng = np.random.default_rng(3)
    ours, theirs = (rng.random((2, rows)) < [[0.7], [0.63]]).astype(float)
    exact = mcnemar(ours, theirs)  # of accuracies both tests ask the same: which of the discordant rows change sides
    both = [(slice(0, rows), judged_accuracy(np.concatenate([ours, theirs])))]
    found = [swapped_p(both, ACCURACY, rows, seed=seed) for seed in range(5)]
    assert np.mean(found) == pytest.approx(exact, abs=0.02)


def test_systems_that_guess_differ_in_five_of_a_hundred_trials():
    rng = np.random.default_rng(0)
    swapped = exact = outside = 0
    trials = 300
    for trial in range(trials):
        ours, theirs = rng.integers(0, 2, (2, 100)).astype(float)
        both = [(slice(0, 100), judged_accuracy(np.concatenate([ours, theirs])))]
        swapped += swapped_p(both, ACCURACY, 100, seed=trial, rounds=400) <= 0.05
        exact += mcnemar(ours, theirs) <= 0.05
        sides = ([(slice(0, 100), judged_accuracy(side))] for side in (ours, theirs))
        found = difference(*sides, ACCURACY, 100, seed=trial, resamples=400)
        outside += not found.low <= 0 <= found.high
    # Ties make tests of counts careful, never bold. 0.05 ± 3 standard errors ends at 0.088.
    assert 0.01 < swapped / trials < 0.088
    assert 0.01 < exact / trials < 0.088
    assert 0.02 < outside / trials < 0.095


def test_a_system_does_not_differ_from_itself_and_seeds_are_averaged():
    rows = [judge_classes(classified(50, seed)) for seed in range(4)]
    place = slice(0, 50)
    metric = by_name(rows[0], "accuracy")
    same = difference([(place, rows[0])], [(place, rows[0])], metric, 50)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    two = difference([(place, rows[0]), (place, rows[1])], [(place, rows[2]), (place, rows[3])], metric, 50)
    values = [one.quality.mean() for one in rows]
    assert two.value == pytest.approx(np.mean(values[:2]) - np.mean(values[2:]))


def test_folds_are_judged_each_by_itself():
    values = np.random.default_rng(0).normal(size=(2, 60))
    metric = Metric("pearson")

    def judged(x: np.ndarray, y: np.ndarray) -> Judged:
        return Judged(x, {metric: lambda w: np.array([np.cov(x, y, fweights=c.astype(int))[0, 1] for c in w.T])})

    folds = [slice(0, 30), slice(30, 60)]
    ours = [(fold, judged(values[0, fold], values[1, fold])) for fold in folds]
    theirs = [(fold, judged(values[0, fold], -values[1, fold])) for fold in folds]
    found = difference(ours, theirs, metric, 60, resamples=20)
    assert found.value == pytest.approx(2 * np.mean([np.cov(*values[:, fold])[0, 1] for fold in folds]))
    assert np.sign(found.value) == np.sign(np.mean([pearsonr(*values[:, fold])[0] for fold in folds]))
