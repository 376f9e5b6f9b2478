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
def test_without_balance_all_rows_over_the_threshold_are_chosen(seed):
    predicted, probability = answers(seed)
    sure = [number for number, likely in enumerate(probability) if likely >= 0.8]
    assert list(PseudoLabels(0.8, balance=False).choose(predicted, probability)) == sure
    for balance in (False, True):
        assert PseudoLabels(1.0, balance=balance).choose(predicted, probability) == {}
        assert len(PseudoLabels(0, balance=balance).choose(predicted, probability)) == 300
        assert PseudoLabels(0.8, balance=balance).choose([], []) == {}


@pytest.mark.parametrize("seed", range(5))
def test_the_same_share_of_every_class_is_chosen_and_as_many_in_all_as_are_over_the_threshold(seed):
    predicted, probability = answers(seed)
    sure = sum(likely >= 0.8 for likely in probability)
    chosen = PseudoLabels(0.8).choose(predicted, probability)
    assert list(chosen) == sorted(chosen)
    assert sure <= len(chosen) <= sure + 2
    for name in {*predicted}:
        mine = [number for number, said in enumerate(predicted) if said == name]
        kept = [number for number in mine if number in chosen]
        assert 0 <= len(kept) - sure * len(mine) / 300 < 1
        dropped = [probability[number] for number in mine if number not in chosen]
        assert max(dropped, default=0) <= min((probability[number] for number in kept), default=1)


def test_weights_follow_the_teacher():
    predicted, probability = ["a", "b", "a"], [0.95, 0.91, 0.5]
    assert PseudoLabels(weight=0.5, balance=False).choose(predicted, probability) == {0: 0.475, 1: 0.455}
    assert PseudoLabels(confidence=False, balance=False).choose(predicted, probability) == {0: 1.0, 1: 1.0}
