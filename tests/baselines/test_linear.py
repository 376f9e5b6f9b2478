"""Linear classifiers: they are what scikit-learn makes of the same features, and files of strangers are data."""

from __future__ import annotations

import random
import zipfile

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression as Theirs

from groundup.baselines import linear
from groundup.baselines.classification import FILE
from groundup.baselines.linear import LinearSVM, LogisticRegression, NaiveBayes
from groundup.errors import UserError
from groundup.system.arrays import read_arrays, write_arrays

WORDS = ["red green blue warm".split(), "cold green iron sky".split(), "leaf sky tree blue".split()]
RECIPES = [LogisticRegression(), LogisticRegression(2, 5, 30), NaiveBayes(), LinearSVM()]


def made(rows, seed=0):
    generator = random.Random(seed)
    truth = np.array([generator.randrange(3) for _ in range(rows)])
    return [{"text": " ".join(generator.choices(WORDS[one], k=3))} for one in truth], truth


TRAIN, TRUTH = made(120)
TEST, EXPECTED = made(60, 1)


def test_logistic_regression_is_that_of_scikit_learn():
    texts = [[row["text"] for row in rows] for rows in (TRAIN, TEST)]
    vectorizer = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\w+|[^\w\s]")
    theirs = Theirs(C=10, max_iter=1000).fit(vectorizer.fit_transform(texts[0]), TRUTH)
    recipe = LogisticRegression()
    ours = recipe.fit(recipe.count(TRAIN), TRUTH, 3).probabilities(TEST)
    assert np.allclose(ours, theirs.predict_proba(vectorizer.transform(texts[1])), atol=2e-3)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_classifier_learns_is_deterministic_and_comes_back_from_its_file(recipe, tmp_path):
    fitted, again = (recipe.fit(recipe.count(TRAIN), TRUTH, 4) for _ in range(2))  # the fourth class has no row
    said = fitted.probabilities(TEST)
    assert (said == again.probabilities(TEST)).all()
    assert np.allclose(said.sum(axis=1), 1) and (said[:, 3] == 0).all()
    assert (said.argmax(axis=1) == EXPECTED).mean() > 0.8
    assert np.allclose(said, fitted.of_counted(recipe.count(TEST)))
    fitted.save(tmp_path)
    assert (recipe.load(tmp_path, 4).probabilities(TEST) == said).all()
    with pytest.raises(UserError, match="damaged"):
        recipe.load(tmp_path, 5)


def test_classes_by_themselves_say_nearly_what_they_say_together(monkeypatch):
    recipe = LogisticRegression()
    together = recipe.fit(recipe.count(TRAIN), TRUTH, 3).probabilities(TEST)
    monkeypatch.setattr(linear, "TOGETHER", 1)
    apart = recipe.fit(recipe.count(TRAIN), TRUTH, 3).probabilities(TEST)
    assert (together.argmax(axis=1) == apart.argmax(axis=1)).mean() > 0.9


def test_naive_bayes_with_two_classes_is_one_regression_and_its_mirror():
    recipe, truth = NaiveBayes(), TRUTH % 2
    fitted = recipe.fit(recipe.count(TRAIN), truth, 2)
    assert np.allclose(fitted.weights[:, 0], -fitted.weights[:, 1])


def test_scores_far_from_every_class_still_give_probabilities():
    recipe = NaiveBayes()
    fitted = recipe.fit(recipe.count(TRAIN), TRUTH, 3)
    fitted.intercept[:] = -2000
    assert np.isfinite(fitted.probabilities(TEST)).all()


CHANGES = {
    "names_0": lambda one: one[::-1],
    "weights": lambda one: one[:-1],
    "idf_0": lambda one: one * np.nan,
    "blocks": lambda one: one + 100,
    "link": lambda one: one + 9,
    "seen": lambda one: one & False,
    "intercept": lambda one: np.array(["a", "b", "c"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_of_a_stranger_is_refused_in_one_line(name, tmp_path):
    recipe = LogisticRegression()
    recipe.fit(recipe.count(TRAIN), TRUTH, 3).save(tmp_path)
    arrays = read_arrays(tmp_path / FILE)
    write_arrays(tmp_path / FILE, {**arrays, name: CHANGES[name](arrays[name])})
    with pytest.raises(UserError, match=r"baseline\.npz is damaged"):
        recipe.load(tmp_path, 3)


def test_objects_compression_and_headers_that_lie_are_refused(tmp_path):
    file = tmp_path / FILE
    np.savez(file, weights=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="no numbers"):
        read_arrays(file)
    np.savez_compressed(file, weights=np.zeros(10**6))
    with pytest.raises(UserError, match="compressed"):
        read_arrays(file)
    with zipfile.ZipFile(file, "w") as archive:
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
        content = b"\x93NUMPY\x01\x00" + len(header + b"\n").to_bytes(2, "little") + header + b"\n"
        archive.writestr("weights.npy", content)
    with pytest.raises(UserError, match="0 bytes"):
        read_arrays(file)
    file.write_bytes(b"PK")
    with pytest.raises(UserError, match="damaged"):
        read_arrays(file)
