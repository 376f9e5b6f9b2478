"""Kneser-Ney: probabilities are those of the formulas, add up to one, and tell a text better than simpler counts do."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter

import numpy as np
import pytest

from groundup.baselines.language import USUAL, KneserNey, NGrams, discounts_of
from groundup.data.batching import Packed
from groundup.data.packing import PackedText
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.text.tokenizer import TokenizerSpec


def drawn(seed: int) -> tuple[list[int], list[int], int, int]:
    """Two streams, the size of their vocabulary, and an order; some are shorter than it."""
    draw = random.Random(seed)
    size, length, order = draw.choice([2, 3, 5, 9]), draw.choice([1, 2, 3, 6, 20, 200]), draw.randint(1, 5)
    weights = [draw.random() ** 4 + 0.01 for _ in range(size)]
    train, test = (draw.choices(range(size), weights, k=k) for k in (length, 30))
    return train, test, size, order


def by_the_formulas(train: list[int], order: int, size: int):
    """P(word | context), a tuple, as Chen and Goodman write it, with loops over all n-grams."""
    order = min(order, len(train))
    seen = {n: Counter(tuple(train[i : i + n]) for i in range(len(train) - n + 1)) for n in range(1, order + 1)}
    counts = {n: Counter(gram[1:] for gram in seen[n + 1]) for n in range(1, order)} | {order: seen[order]}
    taken = {n: (0.0, *discounts_of(np.array([*counts[n].values()]))) for n in counts}

    def probability(word: int, context: tuple[int, ...]) -> float:
        n = len(context) + 1
        shorter = probability(word, context[1:]) if context else 1 / size
        after = {gram[-1]: count for gram, count in counts[n].items() if gram[:-1] == context}
        if not after:
            return shorter
        discount = {one: taken[n][min(count, 3)] for one, count in after.items()}
        own = after.get(word, 0) - discount.get(word, 0)
        return (own + sum(discount.values()) * shorter) / sum(after.values())

    return probability


@pytest.mark.parametrize("seed", range(40))
def test_probabilities_are_those_of_the_formulas(seed):
    train, test, size, order = drawn(seed)
    ours = NGrams(np.array(train), order, size).log_probabilities(np.array(test))
    probability, longest = by_the_formulas(train, order, size), min(order, len(train)) - 1
    theirs = [probability(word, tuple(test[max(0, i - longest) : i])) for i, word in enumerate(test)]
    np.testing.assert_allclose(np.exp(ours), theirs, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_probabilities_of_all_tokens_add_up_to_one_after_any_context(seed):
    train, test, size, order = drawn(seed)
    model = NGrams(np.array(train), order, size + 1)  # one token is never seen
    for context in ([], *(test[i : i + order + 1] for i in range(0, 30, 5)), [size] * order):
        streams = [model.log_probabilities(np.array([*context, word])) for word in range(size + 1)]
        shares = [math.exp(one[-1]) for one in streams]
        assert sum(shares) == pytest.approx(1) and min(shares) > 0


def test_discounts_are_those_of_the_paper_and_the_usual_ones_where_counts_are_too_few():
    counts = np.repeat([1, 2, 3, 4, 9], [40, 16, 9, 5, 3])
    share = 40 / 72
    assert discounts_of(counts) == pytest.approx(
        (1 - 2 * share * 16 / 40, 2 - 3 * share * 9 / 16, 3 - 4 * share * 5 / 9)
    )
    assert discounts_of(np.array([1, 1, 2, 7])) == USUAL
    assert discounts_of(np.repeat([1, 2, 3, 4], [9, 1, 9, 9])) == USUAL  # D2 would be negative


def made(texts: list[str], held_out: list[str]) -> TextData:
    rows = {"train": [{"text": text} for text in texts], "validation": [{"text": text} for text in held_out]}
    return TextData(GivenRows(rows), PackedText, TokenizerSpec("char"), Packed(length=8), None, seed=0)


def sentences(count: int, seed: int) -> list[str]:
    """Words follow each other by a rule, with exceptions."""
    draw, found = random.Random(seed), []
    for _ in range(count):
        words = ["the"]
        while len(words) < 9:
            follow = {"the": ["cat", "cat", "dog"], "cat": ["sat", "ran"], "dog": ["ran"], "sat": ["by"], "ran": ["by"]}
            words.append(draw.choice(follow.get(words[-1], ["the"])))
        found.append(" ".join(words))
    return found


def test_it_tells_a_text_better_than_add_one_and_its_loss_is_that_of_the_tokens_a_network_is_scored_on():
    data = made(sentences(60, 1), sentences(20, 2))
    found = KneserNey(order=5).learn(data)("validation").metrics
    ids, examples = data.examples("train").encoded.ids.tolist(), data.examples("validation")
    scored = examples.encoded.ids.tolist()
    pairs, ones, size = Counter(itertools.pairwise(ids)), Counter(ids), data.tokenizer.vocab_size
    add_one = [-math.log((pairs[pair] + 1) / (ones[pair[0]] + size)) for pair in itertools.pairwise(scored)]
    assert found["loss"].value < np.mean(add_one) - 0.2
    assert found["loss"].n == len(add_one) == examples.lengths(training=False).sum()
    nats = -NGrams(np.array(ids), 5, size).log_probabilities(np.array(scored))[1:]
    assert found["loss"].value == pytest.approx(nats.mean())
    assert found["perplexity"].value == pytest.approx(math.exp(nats.mean()))
    simple = KneserNey(order=5).simpler()
    assert simple.simpler() is None and simple.learn(data)("validation").metrics["loss"].value > found["loss"].value + 1


def test_longer_contexts_say_more_and_unknown_characters_something():
    data = made(sentences(60, 1), sentences(20, 2))
    losses = [KneserNey(order).learn(data)("validation").metrics["loss"].value for order in (1, 2, 3, 5)]
    assert losses == sorted(losses, reverse=True)
    unknown = KneserNey().learn(made(sentences(60, 1), ["the cat sat ☃☃☃", "☃"]))("validation").metrics
    assert losses[-1] < unknown["loss"].value < 12
