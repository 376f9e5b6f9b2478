"""What a model must beat: the majority class, and logistic regression on a bag of words."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from groundup.metrics.classification import classification_metrics
from groundup.metrics.estimate import Estimate

MAJORITY = "majority class"
BAG_OF_WORDS = "bag-of-words logistic regression"
_WEIGHTS = 20_000_000  # classes x features that may be fitted: L-BFGS holds some 25 copies, 4 GB
_TOKEN = r"\w+|[^\w\s]"  # words, and punctuation marks by themselves: right for raw and for tokenized text


def classification_baselines(
    train_rows: Iterable[Mapping], test_rows: Iterable[Mapping], labels: Sequence[str], split: str = "test"
) -> dict[str, dict[str, Estimate]]:
    """Both baselines, as ``baselines.json`` holds them: ``{name: {"test/accuracy": Estimate, ...}}``.

    Args:
        train_rows, test_rows: rows with ``text``, maybe ``text_pair``, and ``label``.
        labels: class names; their order is that of the metrics.
        split: prefix of the metric names.
    """
    train_rows, test_rows = list(train_rows), list(test_rows)
    train_labels, test_labels = ([row["label"] for row in rows] for rows in (train_rows, test_rows))
    results = {
        MAJORITY: majority(train_labels, test_labels, labels),
        BAG_OF_WORDS: bag_of_words(train_rows, test_rows, labels),
    }
    return {name: {f"{split}/{metric}": value for metric, value in found.items()} for name, found in results.items()}


def majority(train_labels: Sequence[str], test_labels: Sequence[str], labels: Sequence[str]) -> dict[str, Estimate]:
    """Always the most frequent class of the train split; its probabilities are the shares of the classes, add-one smoothed."""
    counts = np.bincount(_numbers(train_labels, labels), minlength=len(labels)) + 1.0
    probabilities = np.tile(counts / counts.sum(), (len(test_labels), 1))
    return classification_metrics(probabilities, _numbers(test_labels, labels))


def bag_of_words(
    train_rows: Sequence[Mapping], test_rows: Sequence[Mapping], labels: Sequence[str], C: float = 10.0
) -> dict[str, Estimate]:
    """Logistic regression on TF-IDF of words and word pairs (Chinese, Japanese: of one to three characters). Deterministic.

    ``C`` is the inverse of the L2 penalty. With thousands of classes only the most frequent features are kept, so that
    the weights fit into memory. Source: Wang and Manning 2012, "Baselines and bigrams".
    """
    truth = _numbers([row["label"] for row in test_rows], labels)
    return classification_metrics(bag_of_words_probabilities(train_rows, test_rows, labels, C), truth)


def bag_of_words_probabilities(
    train_rows: Sequence[Mapping], test_rows: Sequence[Mapping], labels: Sequence[str], C: float = 10.0
) -> np.ndarray:
    """Probabilities (N, C) of the bag-of-words model for ``test_rows``; 0 for classes without train rows."""
    from scipy.sparse import hstack
    from sklearn.linear_model import LogisticRegression

    truth = _numbers([row["label"] for row in train_rows], labels)
    seen = np.unique(truth)
    probabilities = np.zeros((len(test_rows), len(labels)))
    columns = ["text", "text_pair"] if "text_pair" in train_rows[0] else ["text"]
    most = _WEIGHTS // (len(seen) * len(columns))
    blocks = [
        _features([row[name] or "" for row in train_rows], [row[name] or "" for row in test_rows], most)
        for name in columns
    ]
    train, test = (hstack(side, format="csr") for side in zip(*blocks, strict=True))
    if len(seen) == 1 or train.shape[1] == 0:  # nothing to tell apart, or nothing to tell it by
        probabilities[:, seen] = np.bincount(truth, minlength=len(labels))[seen] / len(truth)
        return probabilities
    model = LogisticRegression(C=C, max_iter=1000).fit(train, truth)
    probabilities[:, seen] = model.predict_proba(test)
    return probabilities


def _features(train: list[str], test: list[str], most: int):
    """TF-IDF matrices of both splits; the vocabulary is that of the train split, its ``most`` frequent entries."""
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    characters = {"analyzer": "char", "ngram_range": (1, 3)}
    words = characters if _without_spaces(train) else {"ngram_range": (1, 2), "token_pattern": _TOKEN}
    vectorizer = TfidfVectorizer(lowercase=True, sublinear_tf=True, max_features=most, **words)
    try:
        return vectorizer.fit_transform(train), vectorizer.transform(test)
    except ValueError:  # every train text is blank
        return csr_matrix((len(train), 0)), csr_matrix((len(test), 0))


def _without_spaces(texts: Sequence[str]) -> bool:
    """Whether the texts are in a script that does not part words: more than a fifth of the letters are Han or kana."""
    letters = [character for text in texts[:200] for character in text[:500] if character.isalpha()]
    wide = sum(unicodedata.name(character, "").startswith(("CJK", "HIRAGANA", "KATAKANA")) for character in letters)
    return wide > len(letters) / 5


def _numbers(names: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    number = {label: i for i, label in enumerate(labels)}
    return np.array([number[name] for name in names], dtype=np.int64)
