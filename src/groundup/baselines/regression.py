"""What a regression must beat: the mean, and ridge regression on counts of words and characters."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from groundup.baselines.baseline import Baseline, Texts
from groundup.data.roles import Row
from groundup.metrics.estimate import Results
from groundup.metrics.regression import regression_metrics, regression_sections
from groundup.metrics.sections import Section
from groundup.text.words import COMBINING

_WIDE = "\u3040-\u30ff\u3400-\u9fff"  # kana and Han, which are written without spaces: each is a word
_WORD = re.compile(rf"[{_WIDE}]|[^\W{_WIDE}](?:[^\W{_WIDE}]|[{COMBINING}])*")
_TOKEN = rf"{_WORD.pattern}|[^\w\s]"  # punctuation marks, too
_FEATURES = 200_000  # words and n-grams that are counted, at most
_VIEWS: tuple[dict[str, Any], ...] = (  # of a text, as scikit-learn counts it
    {"token_pattern": _TOKEN, "ngram_range": (1, 1)},
    {"token_pattern": _TOKEN, "ngram_range": (1, 2)},
    {"analyzer": "char_wb", "ngram_range": (1, 4)},
)


class Regressor(Baseline):
    """Predicts a number for each row."""

    tasks = ("regression",)

    @abstractmethod
    def predict(self, train: Sequence[Row], rows: Sequence[Row], scores: np.ndarray) -> np.ndarray:
        """Predictions for ``rows`` (N,), learned from ``train`` and its ``scores``."""

    def learn(self, data: Texts) -> Callable[[str], Results]:
        train = data.texts("train")

        def results(split: str) -> Results:
            rows = data.texts(split)
            learned, gold = (np.array([row["score"] for row in some], dtype=float) for some in (train, rows))
            predicted = self.predict(train, rows, learned)
            told = [{"index": index, "predicted": one} for index, one in enumerate(predicted.tolist())]
            return Results(regression_metrics(gold, predicted), told)

        return results

    def sections(self, rows: list[dict[str, Any]], data: Texts, split: str) -> list[Section]:
        return regression_sections(rows)


class Mean(Regressor):
    """Always the mean of the train split."""

    name = "mean of train"

    def predict(self, train: Sequence[Row], rows: Sequence[Row], scores: np.ndarray) -> np.ndarray:
        return np.full(len(rows), scores.mean())


class Ridge(Regressor):
    """Ridge regression on ``similarities`` of pairs, or on ``counts`` of single texts; ``alpha``: of the L2 penalty."""

    name = "TF-IDF ridge"

    def __init__(self, alpha: Annotated[float, Field(gt=0)] = 1.0) -> None:
        self.alpha = alpha

    def predict(self, train: Sequence[Row], rows: Sequence[Row], scores: np.ndarray) -> np.ndarray:
        from sklearn.linear_model import Ridge as LeastSquares

        # Features are not scaled: all are between 0 and about 1.
        ours, theirs = (similarities if "text_pair" in train[0] else counts)(train, rows)
        return LeastSquares(alpha=self.alpha).fit(ours, scores).predict(theirs)

    def simpler(self) -> Baseline | None:
        return Mean()


def similarities(train_rows: Sequence[Mapping], test_rows: Sequence[Mapping]) -> tuple[np.ndarray, np.ndarray]:
    """Features of pairs, (N, 9): cosines of TF-IDF vectors of words, of words and their pairs, and of character n-grams;
    the share of words that both have, of all and of each; how much longer one is, in characters and in words; whether
    both are one.

    Document frequencies are those of the train split. Swapping the texts of a pair changes nothing.
    """
    both = [[[row[name] or "" for row in rows] for name in ("text", "text_pair")] for rows in (train_rows, test_rows)]
    cosines = np.stack([_cosines(both, view) for view in _VIEWS], axis=-1)  # (train + test, views)
    overlaps = np.array([_overlap(*pair) for rows in both for pair in zip(*rows, strict=True)])
    features = np.concatenate([cosines, overlaps], axis=1)
    return features[: len(train_rows)], features[len(train_rows) :]


def _cosines(both: Sequence[Sequence[list[str]]], view: Mapping[str, Any]) -> np.ndarray:
    """Of the two texts of each row, the train split's before the other's."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    (first, second), (other_first, other_second) = both
    vectorizer = TfidfVectorizer(lowercase=True, max_features=_FEATURES, **view)
    try:
        vectorizer.fit(first + second)
    except ValueError:  # every train text is blank
        return np.zeros(len(first) + len(other_first))
    ours, theirs = (vectorizer.transform(texts) for texts in (first + other_first, second + other_second))
    return np.asarray(ours.multiply(theirs).sum(axis=1)).ravel()


def _overlap(one: str, other: str) -> list[float]:
    words = [_WORD.findall(text.lower()) for text in (one, other)]
    a, b = map(set, words)
    common = len(a & b)
    shares = sorted((common / max(len(a), 1), common / max(len(b), 1)))
    lengths = [abs(np.log((1 + x) / (1 + y))) for x, y in ((len(one), len(other)), tuple(map(len, words)))]
    return [common / max(len(a | b), 1), *shares, *lengths, float(one == other)]


def counts(train_rows: Sequence[Mapping], test_rows: Sequence[Mapping]) -> tuple[Any, Any]:
    """TF-IDF of words, their pairs and character n-grams, side by side; of pairs those of both texts. Sparse (N, F)."""
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import TfidfVectorizer

    blocks = []
    for name in ("text", "text_pair") if "text_pair" in train_rows[0] else ("text",):
        train, test = ([row[name] or "" for row in rows] for rows in (train_rows, test_rows))
        for view in _VIEWS[1:]:
            vectorizer = TfidfVectorizer(lowercase=True, sublinear_tf=True, max_features=_FEATURES, **view)
            try:
                blocks.append((vectorizer.fit_transform(train), vectorizer.transform(test)))
            except ValueError:  # every train text is blank
                blocks.append((csr_matrix((len(train), 1)), csr_matrix((len(test), 1))))
    ours, theirs = (hstack(side, format="csr") for side in zip(*blocks, strict=True))
    return ours, theirs
