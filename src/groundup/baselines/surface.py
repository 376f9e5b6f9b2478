"""Features that n-grams lack: how long a text is, its capitals, digits and marks; of a pair, also how alike the two texts are."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from groundup.baselines.classification import FILE, ClassifierBaseline, Fitted
from groundup.baselines.linear import Inverse, both_sides, inverse_frequency, shared_out
from groundup.baselines.ngrams import LONGEST, Block, Counts, Unit, blocks_for, count, texts_of
from groundup.data.roles import Row
from groundup.system.arrays import read_arrays, write_arrays
from groundup.system.files import damaged

WORDS, CHARACTERS = 2, 4  # parts of the longest n-grams that two texts may have in common
SHAPE = 8  # figures of a text
_FAR = 5.0  # deviations from the mean, at most: a text a thousand times longer is only long
_ROWS = 20_000  # scored at a time
UNITS = get_args(Unit)


@dataclass(frozen=True)
class Looked:
    """Rows as they look.

    shapes: (N, S), the figures of the text, and of pairs of the second one beside them. sides: of pairs, the n-grams of
    either text, for each of ``blocks``.
    """

    shapes: np.ndarray
    blocks: tuple[Block, ...]
    sides: tuple[tuple[Counts, Counts], ...]

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, rows: np.ndarray) -> Looked:
        return Looked(self.shapes[rows], self.blocks, tuple((one[rows], other[rows]) for one, other in self.sides))


@dataclass(frozen=True)
class Rarity:
    """How rare n-grams are in the texts that were learned from: ``idf`` (V,) of ``names``, and ``unseen`` of all others."""

    names: np.ndarray
    idf: np.ndarray
    unseen: float

    @classmethod
    def of(cls, one: Counts, other: Counts) -> Rarity:
        from scipy.sparse import vstack

        names = np.union1d(one.names, other.names)
        both = vstack([one.onto(names), other.onto(names)], format="csr")
        return cls(names, inverse_frequency(both), float(np.log(1 + both.shape[0]) + 1))

    def __call__(self, names: np.ndarray) -> np.ndarray:
        if not len(self.names):
            return np.full(len(names), self.unseen)
        place = np.searchsorted(self.names, names).clip(max=len(self.names) - 1)
        return np.where(self.names[place] == names, self.idf[place], self.unseen)


class SurfaceClassifier(Fitted):
    """Scores that are sums of a weight for each figure, and for how far it is from its mean.

    Args:
        blocks, rarities: what is counted of both texts of a pair; none of single texts.
        mean, deviation: (S,) of the figures. weights: (2 S, C). intercept: (C,). seen: (C,) bool, classes that had rows.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        rarities: Sequence[Rarity],
        mean: np.ndarray,
        deviation: np.ndarray,
        weights: np.ndarray,
        intercept: np.ndarray,
        seen: np.ndarray,
    ) -> None:
        self.blocks, self.rarities = tuple(blocks), tuple(rarities)
        self.mean, self.deviation = mean, deviation
        self.weights, self.intercept, self.seen = weights, intercept, seen

    def probabilities(self, rows: Sequence[Row]) -> np.ndarray:
        parts = [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
        found = [self.of_looked(look(part, self.blocks)) for part in parts]
        return np.concatenate(found) if found else np.zeros((0, len(self.seen)))

    def of_looked(self, looked: Looked) -> np.ndarray:
        inputs = scaled(figures(looked, self.rarities), self.mean, self.deviation)
        return shared_out(inputs @ self.weights + self.intercept, self.seen, "softmax")

    def save(self, folder: Path) -> None:
        arrays = {name: getattr(self, name) for name in ("mean", "deviation", "weights", "intercept", "seen")}
        for place, one in enumerate(self.rarities):
            arrays |= {f"names_{place}": one.names, f"idf_{place}": one.idf, f"unseen_{place}": np.array(one.unseen)}
        kinds = [(UNITS.index(one.unit), one.longest) for one in self.blocks]
        write_arrays(folder / FILE, {**arrays, "blocks": np.array(kinds, dtype=np.int64).reshape(-1, 2)})

    @classmethod
    def load(cls, folder: Path, classes: int) -> SurfaceClassifier:
        """The reverse of ``save``. Raises UserError for a file that ``save`` has not written for so many classes."""
        file = folder / FILE
        saved = read_arrays(file)
        try:
            blocks = [Block("text", UNITS[unit], longest) for unit, longest in saved["blocks"].tolist()]
            rarities = [
                Rarity(saved[f"names_{place}"], saved[f"idf_{place}"], float(saved[f"unseen_{place}"]))
                for place in range(len(blocks))
            ]
            mean, deviation = saved["mean"], saved["deviation"]
            weights, intercept, seen = saved["weights"], saved["intercept"], saved["seen"]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise damaged(file, f"it is no classifier ({error})") from None
        size = width(len(blocks))
        sound = (
            len(blocks) <= len(UNITS)
            and all(1 <= block.longest <= LONGEST for block in blocks)
            and all(
                one.names.dtype == np.uint64
                and one.names.ndim == 1
                and one.idf.shape == one.names.shape
                and (one.names[1:] > one.names[:-1]).all()
                for one in rarities
            )
            and mean.shape == deviation.shape == (size,)
            and (deviation > 0).all()
            and weights.shape == (2 * size, classes)
            and intercept.shape == seen.shape == (classes,)
            and seen.dtype == bool
            and seen.any()
        )
        if not sound:
            raise damaged(file, f"its parts do not fit each other, or not {classes} classes")
        return cls(blocks, rarities, mean, deviation, weights, intercept, seen)


class Surface(ClassifierBaseline):
    """Logistic regression on a few figures of a text; ``C``: the inverse of its L2 penalty.

    Of each text: its length, its share of capitals, digits and marks, how often words come again. Of a pair, also what the
    two have in common: TF-IDF cosines, shares of words and of character n-grams. The second text is not the first: what
    an answer has of its question is another figure than what the question has of the answer.
    """

    name = "surface of the text"

    def __init__(self, C: Inverse = 0.3) -> None:
        self.C = C

    def count(self, rows: Sequence[Row]) -> Looked:
        blocks = blocks_for(rows, WORDS, CHARACTERS) if rows and "text_pair" in rows[0] else ()
        return look(rows, [block for block in blocks if block.role == "text"])

    def fit(self, counted: Looked, truth: np.ndarray, classes: int) -> SurfaceClassifier:
        from sklearn.linear_model import LogisticRegression

        rarities = [Rarity.of(*sides) for sides in counted.sides]
        found = figures(counted, rarities)
        mean, deviation = found.mean(axis=0), found.std(axis=0)
        deviation[deviation < 1e-9] = 1.0  # the same in every row
        inputs, present = scaled(found, mean, deviation), np.unique(truth)
        weights, intercept = np.zeros((inputs.shape[1], classes)), np.zeros(classes)
        if len(present) > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of steps that did not suffice: what they reached is what there is
                model = LogisticRegression(C=self.C, max_iter=1000).fit(inputs, truth)
            weights[:, present], intercept[present] = both_sides(model.coef_, model.intercept_)
        seen = np.isin(np.arange(classes), present)
        return SurfaceClassifier(counted.blocks, rarities, mean, deviation, weights, intercept, seen)

    def load(self, folder: Path, classes: int) -> SurfaceClassifier:
        return SurfaceClassifier.load(folder, classes)


def look(rows: Sequence[Row], blocks: Sequence[Block]) -> Looked:
    """The rows as they look; of pairs, ``blocks`` of both texts are counted, whatever column these name."""
    if not blocks:
        return Looked(shapes(texts_of(rows, "text")), (), ())
    one, other = texts_of(rows, "text"), texts_of(rows, "text_pair")
    sides = tuple((count(one, block), count(other, block)) for block in blocks)
    return Looked(np.concatenate([shapes(one), shapes(other)], axis=1), tuple(blocks), sides)


def shapes(texts: Sequence[str]) -> np.ndarray:
    """Of each text (N, SHAPE): logarithms of its characters, words and lines; shares of capitals, of digits, of marks and
    of what is beyond ASCII among its characters; of different ones among its words."""
    found = np.zeros((len(texts), SHAPE))
    for place, text in enumerate(texts):
        words, size = text.lower().split(), max(len(text), 1)
        capitals, digits = sum(map(str.isupper, text)), sum(map(str.isdigit, text))
        marks = len(text) - sum(map(str.isalnum, text)) - sum(map(str.isspace, text))
        beyond = len(text) - len(text.encode("ascii", "ignore"))
        found[place] = (
            *np.log1p((len(text), len(words), text.count("\n"))),
            *(part / size for part in (capitals, digits, marks, beyond)),
            len(set(words)) / max(len(words), 1),
        )
    return found


def figures(looked: Looked, rarities: Sequence[Rarity]) -> np.ndarray:
    """All figures of rows, (N, F): their shapes; of pairs, how much longer the first text is, and for each block the cosine
    of both and the shares, by rarity, that the other has of the first and of the second."""
    if not looked.blocks:
        return looked.shapes
    columns = [looked.shapes, looked.shapes[:, :2] - looked.shapes[:, SHAPE : SHAPE + 2]]
    columns += [alike(*sides, rarity) for sides, rarity in zip(looked.sides, rarities, strict=True)]
    return np.concatenate(columns, axis=1)


def alike(one: Counts, other: Counts, rarity: Rarity) -> np.ndarray:
    """Cosine, share of the first, share of the second: (N, 3); zeros where a text is empty."""
    names = np.union1d(one.names, other.names)
    rare = rarity(names)
    sides = [counts.onto(names).astype(np.float64) for counts in (one, other)]
    for matrix in sides:
        matrix.data *= rare[matrix.indices]
    first, second = sides

    def total(matrix: Any) -> np.ndarray:
        return np.asarray(matrix.sum(axis=1)).ravel()

    lengths = np.sqrt(total(first.multiply(first)) * total(second.multiply(second)))
    common = total(first.minimum(second))
    parts = ((total(first.multiply(second)), lengths), (common, total(first)), (common, total(second)))
    return np.stack([part / np.maximum(whole, 1e-9) for part, whole in parts], axis=1)


def scaled(found: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Figures in deviations from their means, and how far each is from it: (N, F) -> (N, 2 F). So a class may be in the middle."""
    away = ((found - mean) / deviation).clip(-_FAR, _FAR)
    return np.concatenate([away, np.abs(away)], axis=1)


def width(blocks: int) -> int:
    """Figures of a row, by how many blocks are counted of a pair; none: of a single text."""
    return 2 * SHAPE + 2 + 3 * blocks if blocks else SHAPE
