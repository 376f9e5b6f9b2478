"""ROUGE: how much of a reference summary is in ours, by words, word pairs, and the longest common subsequence."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal

import numpy as np

from groundup.metrics.estimate import RESAMPLES, Estimate, bootstrap

Tokens = Sequence[str]


def rouge(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """``rouge_1``, ``rouge_2`` and ``rouge_l``: mean F1 over rows, 0..1, with bootstrap intervals. Arguments as for ``rouge_scores``."""
    means = {}
    for name, scores in rouge_scores(hypotheses, references).items():
        means[name] = bootstrap(partial(_weighted_mean, scores), len(scores), seed, resamples)
    return means


def rouge_scores(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """F1 of each row (N,). Of several references the one that fits best counts, for each score by itself.

    Tokens are lower-cased words without stemming, and characters in Chinese, Japanese and Korean.

    Args:
        hypotheses: (N,) what the model wrote.
        references: (N,) one or more right answers for each row.

    Raises:
        ValueError: no rows, or a row without a reference.

    Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries".
    """
    if len(hypotheses) != len(references) or not hypotheses or not all(references):
        raise ValueError(
            f"{len(hypotheses)} hypotheses and {len(references)} rows of references, each with one or more"
        )
    ours = [tokens(text) for text in hypotheses]
    theirs = [[tokens(text) for text in row] for row in references]
    scores: dict[str, Callable[[Tokens, Tokens], float]] = {
        "rouge_1": lambda a, b: _overlap(a, b, 1),
        "rouge_2": lambda a, b: _overlap(a, b, 2),
        "rouge_l": lambda a, b: _f1(common_subsequence(a, b), len(a), len(b)),
    }
    return {
        name: np.array([max(score(a, b) for b in row) for a, row in zip(ours, theirs, strict=True)])
        for name, score in scores.items()
    }


def common_subsequence(a: Tokens, b: Tokens) -> int:
    """Length of the longest common subsequence, one machine operation for 64 cells of the usual table.

    Source: Allison and Dix 1986, "A bit-string longest-common-subsequence algorithm".
    """
    places: dict[str, int] = {}
    for i, token in enumerate(a):
        places[token] = places.get(token, 0) | 1 << i
    row = 0
    for token in b:
        candidates = row | places.get(token, 0)
        row = candidates & ~(candidates - (row << 1 | 1))
    return row.bit_count()


def _weighted_mean(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return scores @ weights / len(scores)


def _overlap(a: Tokens, b: Tokens, n: int) -> float:
    left, right = ngrams(a, n), ngrams(b, n)
    return _f1((left & right).total(), left.total(), right.total())


def _f1(common: int, left: int, right: int) -> float:
    """Harmonic mean of precision and recall; 0 where a side is empty."""
    return 2 * common / (left + right) if common else 0.0


_HAN = "\u2e80-\u2fdf\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_KANA = "\u3041-\u309f\u30a0-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HANGUL = "\u1100-\u11ff\u3130-\u318f\ua960-\ua97f\uac00-\ud7ff"
# One Han, kana or Hangul character, or a run of other letters and digits.
_TOKEN = re.compile(rf"[{_HAN}{_KANA}{_HANGUL}]|[^\W_{_HAN}{_KANA}{_HANGUL}]+")
_SCRIPTS = {name: re.compile(f"[{letters}]") for name, letters in (("zh", _HAN), ("ja", _KANA), ("ko", _HANGUL))}
_LETTER = re.compile(r"[^\W\d_]")

Script = Literal["zh", "ja", "ko", "other"]


def tokens(text: str) -> list[str]:
    """Lower-cased words and numbers, and each Chinese, Japanese or Korean character by itself; no punctuation.

    On ASCII text these are the tokens of the ``rouge-score`` package without stemming.
    """
    return _TOKEN.findall(unicodedata.normalize("NFC", text.lower()))


def script(texts: Iterable[str]) -> Script:
    """What most of the texts are written in: Chinese, Japanese, Korean, or a script that parts its words (``other``).

    A fifth of the letters decides, as such texts hold Latin names too. Japanese is told from Chinese by its kana.
    """
    text = "".join(texts)
    letters = len(_LETTER.findall(text))
    han, kana, hangul = (len(pattern.findall(text)) for pattern in _SCRIPTS.values())
    if hangul > letters / 5:
        return "ko"
    if han + kana <= letters / 5:
        return "other"
    return "ja" if kana > (han + kana) / 20 else "zh"


def ngrams(sequence: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of ``n`` tokens occurs."""
    return Counter(zip(*(sequence[start:] for start in range(n)), strict=False))
