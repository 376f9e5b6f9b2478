from __future__ import annotations

import random
from functools import partial

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

from groundup.baselines import ngrams
from groundup.baselines.ngrams import Block, blocks_for, count
from groundup.text.words import COMBINING

TEXTS = [
    "The cat sat, the cat!",
    "",
    "a  b\tcat",
    "İstanbul ümlaut 𝔘nicode",
    "x",
    " \n",
    "the the the the",
    "don't a b",
    "हिन्दी भाषा, cafe\u0301",
]
BLOCKS = {
    "word": (Block("text", "word", 3), {"token_pattern": rf"[\w{COMBINING}]+|[^\w\s]", "ngram_range": (1, 3)}),
    "character": (Block("text", "character", 4), {"analyzer": "char", "ngram_range": (1, 4)}),
    "inside": (Block("text", "inside", 4), {"analyzer": "char_wb", "ngram_range": (1, 4)}),
}


def profiles(matrix):
    """The columns of a matrix, each as a tuple, in an order of their own: what two countings must agree on."""
    return sorted(map(tuple, np.asarray(matrix).T.tolist()))


@pytest.mark.parametrize("unit", BLOCKS)
def test_counts_are_those_of_scikit_learn(unit, monkeypatch):
    monkeypatch.setattr(ngrams, "_CHUNK", 20)  # several chunks
    block, options = BLOCKS[unit]
    texts = [" ".join(text.split()) for text in TEXTS]  # they treat blanks at the ends otherwise
    vectorizer = CountVectorizer(**options)
    theirs = vectorizer.fit_transform(texts).todense().astype(int)
    if unit == "inside":  # theirs also counts single blanks, and short words once more
        names = [name for name in vectorizer.get_feature_names_out() if name.strip()]
        words = [[f" {word} " for word in text.lower().split()] for text in texts]
        theirs = [[sum(map(partial(occurrences, name), row)) for name in names] for row in words]
    assert profiles(count(texts, block).matrix.todense().astype(int)) == profiles(theirs)


def occurrences(name: str, word: str) -> int:
    return sum(word.startswith(name, place) for place in range(len(word)))


def test_a_part_of_counted_rows_is_what_these_rows_alone_give():
    generator = random.Random(0)
    texts = [" ".join(generator.choices(["red", "green", "blue", "sky"], k=generator.randint(0, 6))) for _ in range(60)]
    block = Block("text", "word", 2)
    chosen = np.array(generator.sample(range(60), 25))
    part, alone = count(texts, block)[chosen], count([texts[i] for i in chosen], block)
    for least, most in ((1, 10**6), (2, 10**6), (1, 7)):
        names = alone.frequent(least, most)
        assert (part.frequent(least, most) == names).all()
        assert (part.onto(names) != alone.onto(names)).nnz == 0


def test_unknown_ngrams_count_nothing_and_order_matters():
    block = Block("text", "word", 2)
    names = count(["a b"], block).names
    assert count(["c d", "b a"], block).onto(names).sum(axis=1).ravel().tolist() == [[0, 2]]


def test_memory_is_bounded_by_leaving_out_the_longest(monkeypatch):
    rows = [{"text": f"some words of row number {number}"} for number in range(100)]
    assert [block.longest for block in blocks_for(rows, 2, 5)] == [2, 5]
    monkeypatch.setattr(ngrams, "MOST", 6000)
    longest = [block.longest for block in blocks_for(rows, 2, 5)]
    assert longest[0] == 2 and 1 <= longest[1] < 5
