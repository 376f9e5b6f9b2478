"""The hidden Markov tagger finds the likeliest tags, and unknown words by their form."""

from __future__ import annotations

import random
from itertools import pairwise, product

import numpy as np
import pytest

from groundup.baselines.tagging import HiddenMarkov, endings, tagging_baselines

WORDS = {"N": ["fern", "oaks", "crows"], "V": ["grows", "sings"], "D": ["the", "a"]}


def rows(count: int, seed: int) -> list[dict[str, list[str]]]:
    draw = random.Random(seed)
    tags = [["D", "N", "V"][: draw.randint(1, 3)] * draw.randint(1, 2) for _ in range(count)]
    return [{"tokens": [draw.choice(WORDS[tag]) for tag in row], "tags": row} for row in tags]


@pytest.mark.parametrize("seed", range(10))
def test_tags_are_those_of_the_highest_score(seed):
    draw = random.Random(seed)
    model = HiddenMarkov([{**row, "tags": draw.choices("NVD", k=len(row["tags"]))} for row in rows(8, seed)])
    words = draw.choices(["fern", "the", "grows", "new"], k=4)

    def score(places):
        pairs = sum(model.transitions[pair] for pair in pairwise(places))
        own = sum(model.emission(word)[place] for word, place in zip(words, places))
        return model.start[places[0]] + pairs + own + model.end[places[-1]]

    best = max(product(range(len(model.names)), repeat=4), key=score)
    assert model.tags(words) == [model.names[place] for place in best]


def test_probabilities_add_up_to_one():
    model = HiddenMarkov(rows(30, 1))
    everything = np.column_stack([model.transitions, model.end])
    assert np.exp(everything).sum(1) == pytest.approx(1)
    assert np.exp(model.start).sum() < 1  # the rest: a sentence without words
    for word in ("fern", "new"):
        assert (np.exp(model.emission(word)) * np.exp(model._log_prior)).sum() == pytest.approx(1)


def test_unknown_words_are_known_by_their_end_and_their_place():
    train = rows(60, 2)
    said = tagging_baselines(train, [{"tokens": ["the", "ravens", "hums"]}, {"tokens": []}], None)
    assert said["hidden Markov model"] == [["D", "N", "V"], []]
    assert said["most frequent tag"][1] == []
    assert [*endings("Ab1")] == ["Xxd", ("Xxd", "1"), ("Xxd", "b1"), ("Xxd", "ab1")]


def test_rules_of_a_scheme_hold():
    train = [{"tokens": ["x", "y"], "tags": ["B-a", "I-a"]}] * 3 + [{"tokens": ["y"], "tags": ["O"]}]
    model = HiddenMarkov(train, "bio")
    assert model.tags(["y"]) == ["O"] and model.tags(["x", "y"]) == ["B-a", "I-a"]
