"""What a text looks like: it tells classes that n-grams cannot tell, and files of strangers are data."""

from __future__ import annotations

import random

import numpy as np
import pytest

from groundup.baselines.classification import FILE
from groundup.baselines.surface import Surface
from groundup.errors import UserError
from groundup.system.arrays import read_arrays, write_arrays

WORDS = [f"{first}{second}" for first in "bdfglm" for second in ("ana", "ero", "isu", "olta")]


def said(train, rows, classes=3):
    recipe = Surface()
    truth = np.array([row["label"] for row in train])
    return recipe.fit(recipe.count(train), truth, classes).probabilities(rows)


def right(train, rows):
    return (said(train, rows).argmax(axis=1) == [row["label"] for row in rows]).mean()


def pairs(count, seed):
    """The second text has none, some or all of the words of the first; which words these are says nothing."""
    generator = random.Random(seed)
    for _ in range(count):
        label, words = generator.randrange(3), generator.sample(WORDS, 12)
        second = words[:6] if label == 2 else words[3:9] if label == 1 else words[6:]
        yield {"text": " ".join(words[:6]), "text_pair": " ".join(generator.sample(second, 6)), "label": label}


def lengths(count, seed):
    """Texts of the same words: few, some or many of them."""
    generator = random.Random(seed)
    for _ in range(count):
        label = generator.randrange(3)
        yield {
            "text": " ".join(generator.choices(WORDS, k=generator.randint(*((2, 5), (9, 14), (25, 60))[label]))),
            "label": label,
        }


@pytest.mark.parametrize("make", [pairs, lengths])
def test_it_tells_what_is_alike_and_what_is_long(make):
    assert right(list(make(150, 0)), list(make(60, 1))) > 0.85


def test_words_of_a_pair_that_training_never_saw_are_compared_too():
    rows = [
        {"text": "qix wux", "text_pair": "wux qix", "label": 2},
        {"text": "qix wux", "text_pair": "zop yim", "label": 0},
    ]
    assert right(list(pairs(150, 0)), rows) == 1


def test_a_row_has_the_same_answer_whatever_stands_beside_it():
    train, rows = list(pairs(60, 0)), list(pairs(9, 1))
    assert np.allclose(said(train, rows)[3:5], said(train, rows[3:5]))


@pytest.mark.parametrize("make", [pairs, lengths])
def test_it_comes_back_from_its_file_and_a_stranger_s_is_refused(make, tmp_path):
    recipe, train = Surface(), list(make(30, 0))
    fitted = recipe.fit(recipe.count(train), np.array([row["label"] for row in train]), 4)  # the fourth has no row
    fitted.save(tmp_path)
    found = recipe.load(tmp_path, 4).probabilities(train)
    assert (
        (found == fitted.probabilities(train)).all() and np.allclose(found.sum(axis=1), 1) and (found[:, 3] == 0).all()
    )
    arrays = read_arrays(tmp_path / FILE)
    changes = {"weights": arrays["weights"][:-1], "deviation": -arrays["deviation"], "blocks": np.array([[9, 1]])}
    changes |= {"blocks ": np.zeros((1, 3), np.int64), "seen": arrays["seen"] & False}
    changes |= {"names_0": arrays["names_0"][::-1], "idf_0": arrays["idf_0"][1:]} if "names_0" in arrays else {}
    for name, change in changes.items():
        write_arrays(tmp_path / FILE, {**arrays, name.strip(): change})
        with pytest.raises(UserError, match=r"baseline\.npz is damaged"):
            recipe.load(tmp_path, 4)


@pytest.mark.parametrize("text", ["", " \n", "\ud800", "字" * 50, "a" * 100_000])
def test_odd_texts_have_probabilities(text):
    train = list(pairs(20, 0))
    for pair in (text, "b"):
        assert np.isfinite(said(train, [{"text": text, "text_pair": pair}])).all()
    empty = [{"text": text, "text_pair": text, "label": number % 2} for number in range(6)]
    assert np.allclose(said(empty, empty)[:, :2], 0.5, atol=0.1)
