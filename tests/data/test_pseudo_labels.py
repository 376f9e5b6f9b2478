"""Which answers of a teacher are learned from."""

import numpy as np
import pytest

from groundup.data.pseudo_labels import PseudoLabels


def answers(seed: int, rows: int = 300):
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet([3.0, 1.0, 0.3], rows)
    predicted = ["abc"[best] for best in probabilities.argmax(1)]
    return predicted, probabilities.max(1).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_nothing_below_the_threshold_is_ever_chosen_and_all_above_it_without_balance(seed):
    predicted, probability = answers(seed)
    sure = {number for number, likely in enumerate(probability) if likely >= 0.8}
    assert set(PseudoLabels(0.8, balance=False).choose(predicted, probability, {"a": 5, "b": 3, "c": 2})) == sure
    assert set(PseudoLabels(0.8).choose(predicted, probability, {"a": 5, "b": 3, "c": 2})) <= sure
    assert PseudoLabels(1.0).choose(predicted, probability, {"a": 5, "b": 3, "c": 2}) == {}


@pytest.mark.parametrize("seed", range(5))
def test_no_class_has_more_than_its_share_and_the_likeliest_stay(seed):
    predicted, probability = answers(seed)
    counts = {"a": 1, "b": 2, "c": 7}
    sure = [number for number, likely in enumerate(probability) if likely >= 0.6]
    chosen = PseudoLabels(0.6).choose(predicted, probability, counts)
    for name, count in counts.items():
        mine = [number for number in sure if predicted[number] == name]
        kept = [number for number in chosen if predicted[number] == name]
        assert len(kept) == min(len(mine), int(np.ceil(len(sure) * count / 10)))
        dropped = [probability[number] for number in mine if number not in chosen]
        assert max(dropped, default=0) <= min((probability[number] for number in kept), default=1)


def test_weights_follow_the_teacher():
    predicted, probability = ["a", "b", "a"], [0.95, 0.91, 0.5]
    counts = {"a": 1, "b": 1}
    assert PseudoLabels(weight=0.5).choose(predicted, probability, counts) == {0: 0.475, 1: 0.455}
    assert PseudoLabels(confidence=False).choose(predicted, probability, counts) == {0: 1.0, 1: 1.0}
