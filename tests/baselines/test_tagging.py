"""The hidden Markov tagger finds the likeliest tags, and unknown words by their form."""

from __future__ import annotations

import random
from itertools import pairwise, product

import numpy as np
import pytest

from groundup.baselines.tagging import HiddenMarkov, HiddenMarkovTagger, MostFrequentTag, endings
from groundup.errors import UserError

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
    assert [*map(HiddenMarkov(train).tags, (["the", "ravens", "hums"], []))] == [["D", "N", "V"], []]
    assert MostFrequentTag().tagger(train, None)([]) == []
    assert [*endings("Ab1")] == ["Xxd", ("Xxd", "1"), ("Xxd", "b1"), ("Xxd", "ab1")]


def test_rules_of_a_scheme_hold():
    train = [{"tokens": ["x", "y"], "tags": ["B-a", "I-a"]}] * 3 + [{"tokens": ["y"], "tags": ["O"]}]
    model = HiddenMarkov(train, "bio")
    assert model.tags(["y"]) == ["O"] and model.tags(["x", "y"]) == ["B-a", "I-a"]


@pytest.mark.parametrize(("scheme", "f1"), [("auto", 0.0), ("bio", 0.0), ("iob1", 1.0), ("none", None)])
def test_entities_are_those_of_the_scheme_that_was_chosen(reached, scheme, f1):
    train = [{"tokens": ["x", "y", "z"], "tags": ["I-a", "O", "B-a"]}] * 3  # in BIO, I-a begins nothing
    row = {"tokens": ["x"], "tags": ["I-a"]}
    found = reached(MostFrequentTag(scheme), train, [row], alone=True).metrics
    assert ("entity_f1" in found) == (f1 is not None) and (f1 is None or found["entity_f1"].value == f1)
    assert HiddenMarkovTagger(scheme).simpler().scheme == scheme


def test_a_scheme_without_a_letter_of_the_tags_is_refused(reached):
    with pytest.raises(UserError, match="scheme=bio: the tag 'E-a' is none of it"):
        reached(HiddenMarkovTagger("bio"), [{"tokens": ["x", "y"], "tags": ["B-a", "E-a"]}], [])
