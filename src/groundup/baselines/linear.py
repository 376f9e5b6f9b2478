"""Linear classifiers on n-grams: logistic regression, support vectors, and logistic regression on naive-Bayes ratios."""

from __future__ import annotations

import logging
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import numpy as np
from pydantic import Field

from groundup.baselines.classification import FILE, ClassifierBaseline, Fitted
from groundup.baselines.ngrams import LONGEST, Block, Counted, Text, Unit, blocks_for, count_rows
from groundup.data.roles import Row
from groundup.errors import ArgumentError
from groundup.system.arrays import read_arrays, write_arrays
from groundup.system.files import damaged

log = logging.getLogger(__name__)
Longest = Annotated[int, Field(ge=0, le=LONGEST)]
Inverse = Annotated[float, Field(gt=0)]
# How scores become probabilities: of all classes together, or of each against the rest and then shared out.
Link = Literal["softmax", "sigmoid"]

WEIGHTS = 10_000_000  # classes x features, at most; n-grams that are too many are left out, the rare ones first
TOGETHER = (
    4_000_000  # of these that are fitted together: L-BFGS holds some 25 copies, and passes over them at each step
)
_ROWS = 20_000  # scored at a time


class LinearClassifier(Fitted):
    """Scores that are sums of a weight for each n-gram of a row.

    Args:
        blocks, names: what is counted, and the n-grams of each block that have weights.
        idf: of TF-IDF, an array a block; empty: only whether an n-gram is there counts.
        weights: (F, C), of the n-grams of all blocks. intercept: (C,).
        seen: (C,) bool: classes that had rows; the others have no probability.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        names: Sequence[np.ndarray],
        idf: Sequence[np.ndarray],
        weights: np.ndarray,
        intercept: np.ndarray,
        seen: np.ndarray,
        link: Link,
    ) -> None:
        self.blocks, self.names, self.idf = tuple(blocks), tuple(names), tuple(idf)
        self.weights, self.intercept, self.seen, self.link = weights, intercept, seen, link

    def probabilities(self, rows: Sequence[Row]) -> np.ndarray:
        parts = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
        found = [self.of_counted(count_rows(part, self.blocks)) for part in parts]
        return np.concatenate(found) if found else np.zeros((0, len(self.seen)))

    def of_counted(self, counted: Counted) -> np.ndarray:
        scores = np.asarray(design(counted, self.names, self.idf) @ self.weights + self.intercept, dtype=np.float64)
        return shared_out(scores, self.seen, self.link)

    def save(self, folder: Path) -> None:
        kinds = [(ROLES.index(one.role), UNITS.index(one.unit), one.longest) for one in self.blocks]
        arrays = {f"names_{place}": one for place, one in enumerate(self.names)}
        arrays |= {f"idf_{place}": one for place, one in enumerate(self.idf)}
        arrays |= {"weights": self.weights, "intercept": self.intercept, "seen": self.seen}
        arrays |= {"blocks": np.array(kinds), "link": np.array(LINKS.index(self.link))}
        write_arrays(folder / FILE, arrays)

    @classmethod
    def load(cls, folder: Path, classes: int) -> LinearClassifier:
        """The reverse of ``save``. Raises UserError for a file that ``save`` has not written for so many classes."""
        file = folder / FILE
        saved = read_arrays(file)
        try:
            kinds, link = saved["blocks"], LINKS[int(saved["link"])]
            weights, intercept, seen = saved["weights"], saved["intercept"], saved["seen"]
            blocks = [Block(ROLES[role], UNITS[unit], longest) for role, unit, longest in kinds.tolist()]
            names = [saved[f"names_{place}"] for place in range(len(blocks))]
            idf = [saved[f"idf_{place}"] for place in range(len(blocks))] if "idf_0" in saved else []
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise damaged(file, f"it is no classifier ({error})") from None
        sizes = [len(one) for one in names]
        sound = (
            0 < len(blocks) <= 2 * len(ROLES)
            and all(1 <= block.longest <= LONGEST for block in blocks)
            and all(one.dtype == np.uint64 and one.ndim == 1 and (one[1:] > one[:-1]).all() for one in names)
            and (not idf or [one.shape for one in idf] == [(size,) for size in sizes])
            and weights.shape == (sum(sizes), classes)
            and intercept.shape == seen.shape == (classes,)
            and seen.dtype == bool
            and seen.any()
        )
        if not sound:
            raise damaged(file, f"its parts do not fit each other, or not {classes} classes")
        return cls(blocks, names, idf, weights, intercept, seen, link)


ROLES, UNITS, LINKS = get_args(Text), get_args(Unit), get_args(Link)


class Linear(ClassifierBaseline):
    """What the classifiers of this file share: n-grams of words and marks, and of characters within words.

    Args:
        words, characters: parts of the longest n-grams; 0: none. Texts without blanks between words are read by one to
            three characters in any case.
        C: the inverse of the L2 penalty.
    """

    weighting: ClassVar[Literal["tfidf", "binary"]] = "tfidf"

    def __init__(self, words: Longest, characters: Longest, C: Inverse) -> None:
        if not words and not characters:
            raise ArgumentError("words=0 and characters=0: there is nothing to read", "words=2")
        self.words, self.characters, self.C = words, characters, C

    def count(self, rows: Sequence[Row]) -> Counted:
        return count_rows(rows, blocks_for(rows, self.words, self.characters))

    def fit(self, counted: Counted, truth: np.ndarray, classes: int) -> LinearClassifier:
        present = np.unique(truth)
        seen = np.isin(np.arange(classes), present)
        most = WEIGHTS // (len(present) * len(counted.blocks))
        # A character n-gram of one row says little, and there are many; a word of one row may be what tells it.
        names = [
            counts.frequent(2 if block.unit == "inside" else 1, most)
            for block, counts in zip(counted.blocks, counted.counts, strict=True)
        ]
        idf = [inverse_frequency(one.onto(own)) for one, own in zip(counted.counts, names, strict=True)]
        idf = idf if self.weighting == "tfidf" else []
        features = design(counted, names, idf)
        weights, intercept = np.zeros((features.shape[1], classes), np.float32), np.zeros(classes)
        link: Link = "softmax"
        if len(present) == 1 or features.shape[1] == 0:  # nothing to tell apart, or nothing to tell it by
            intercept[present] = np.log(np.bincount(truth, minlength=classes)[present] / len(truth))
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of steps that did not suffice: what they reached is what there is
                weights[:, present], intercept[present], link = self.weights(features, truth, present)
        return LinearClassifier(counted.blocks, names, idf, weights, intercept, seen, link)

    @abstractmethod
    def weights(self, features: Any, truth: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, Link]:
        """Weights (F, P) and intercepts (P,) of the P classes that are ``present``, two at least, and what scores mean."""

    def load(self, folder: Path, classes: int) -> LinearClassifier:
        return LinearClassifier.load(folder, classes)


class LogisticRegression(Linear):
    """Multinomial logistic regression on TF-IDF. Source: Wang and Manning 2012, "Baselines and bigrams".

    With very many weights each class is told from the rest by itself, which takes less memory and time.
    """

    name = "bag-of-words logistic regression"

    def __init__(self, words: Longest = 2, characters: Longest = 0, C: Inverse = 10.0) -> None:
        super().__init__(words, characters, C)

    def weights(self, features: Any, truth: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, Link]:
        from sklearn.linear_model import LogisticRegression as Multinomial

        if features.shape[1] * len(present) > TOGETHER and len(present) > 2:
            log.info("%d classes x %d n-grams: each class by itself", len(present), features.shape[1])
            return one_against_rest(features, truth, present, self.C)
        model = Multinomial(C=self.C, max_iter=1000).fit(features, truth)
        return *both_sides(model.coef_, model.intercept_), "softmax"


class LinearSVM(Linear):
    """Support vectors, each class against the rest, on TF-IDF; squared hinge loss (Fan et al. 2008, LIBLINEAR).

    Its probabilities are the softmax of its scores: their order means something, their height does not.
    """

    name = "linear support vectors"

    def __init__(self, words: Longest = 2, characters: Longest = 5, C: Inverse = 1.0) -> None:
        super().__init__(words, characters, C)

    def weights(self, features: Any, truth: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, Link]:
        from sklearn.svm import LinearSVC

        model = LinearSVC(C=self.C, random_state=0).fit(features, truth)
        return *both_sides(model.coef_, model.intercept_), "softmax"


class NaiveBayes(Linear):
    """Logistic regression on the n-grams that are there, each times its naive-Bayes log-ratio, one class against the rest.

    Source: Wang and Manning 2012, with logistic regression for their support vectors.
    """

    name = "naive-Bayes logistic regression"
    weighting = "binary"

    def __init__(self, words: Longest = 2, characters: Longest = 0, C: Inverse = 1.0) -> None:
        super().__init__(words, characters, C)

    def weights(self, features: Any, truth: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, Link]:
        sides = np.stack([truth == one for one in present], axis=1).astype(np.float32)  # (N, P)
        with_class = np.asarray(features.T @ sides, dtype=np.float64) + 1  # (F, P), add-one
        without = np.asarray(features.sum(axis=0)).reshape(-1, 1) - with_class + 2
        ratios = np.log(with_class / with_class.sum(axis=0)) - np.log(without / without.sum(axis=0))
        return one_against_rest(features, truth, present, self.C, ratios)


def design(counted: Counted, names: Sequence[np.ndarray], idf: Sequence[np.ndarray]) -> Any:
    """The rows as a sparse matrix (N, F) of TF-IDF, each block of Euclidean length 1; without ``idf``, of zeros and ones."""
    from scipy.sparse import hstack

    matrices = [counts.onto(own) for counts, own in zip(counted.counts, names, strict=True)]
    for place, matrix in enumerate(matrices):
        if not idf:
            matrix.data = np.ones_like(matrix.data, dtype=np.float64)
            continue
        values = (1 + np.log(matrix.data.astype(np.float64))) * idf[place][matrix.indices]
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        matrix.data = values / np.sqrt(np.bincount(rows, values**2, matrix.shape[0]))[rows]
    return hstack(matrices, format="csr")


def inverse_frequency(matrix: Any) -> np.ndarray:
    """log of rows / rows with the n-gram, both plus one, and 1 added: (F,)."""
    rows, frequency = matrix.shape[0], np.bincount(matrix.indices, minlength=matrix.shape[1])
    return np.log((1 + rows) / (1 + frequency)) + 1


def shared_out(scores: np.ndarray, seen: np.ndarray, link: Link) -> np.ndarray:
    """Scores (N, C) as probabilities, none for classes that are not ``seen`` (C,)."""
    # Of sigmoids, 1 / (1 + exp(-s)), by its logarithm: a row may be far from every class.
    logs = np.where(seen, scores if link == "softmax" else -np.logaddexp(0, -scores), -np.inf)
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def both_sides(coefficients: np.ndarray, intercepts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's (P, F) as (F, P); of two classes it has the second's alone."""
    if len(coefficients) == 1:
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([np.zeros_like(intercepts), intercepts])
    return coefficients.T, intercepts


def one_against_rest(
    features: Any, truth: np.ndarray, present: np.ndarray, C: float, ratios: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, Link]:
    """Logistic regression for each class, in the dual (LIBLINEAR), whose memory does not grow with the classes.

    ``ratios`` (F, P): what features are multiplied by, for each class.
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression as OfTwo

    weights, intercepts = np.zeros((features.shape[1], len(present)), np.float32), np.zeros(len(present))
    for place, one in enumerate(present):
        scaled = features
        if ratios is not None:
            data = features.data * ratios[features.indices, place]
            scaled = csr_matrix((data, features.indices, features.indptr), shape=features.shape)
        model = OfTwo(C=C, solver="liblinear", dual=True, random_state=0).fit(scaled, truth == one)
        weights[:, place], intercepts[place] = model.coef_[0], model.intercept_[0]
        if ratios is not None:
            weights[:, place] *= ratios[:, place]
        if len(present) == 2:  # the other side is its mirror
            weights[:, 1], intercepts[1] = -weights[:, 0], -intercepts[0]
            break
    return weights, intercepts, "sigmoid"
