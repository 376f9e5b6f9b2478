"""BLEU, chrF and ROUGE: how much of a reference is in what was written, by words, word groups and characters.

BLEU and chrF are sacreBLEU's, with intervals and the signature that makes them comparable. Texts are detokenized and
cased, as people read them; sacreBLEU does its own tokenization.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np

from groundup.errors import UserError
from groundup.metrics.estimate import Estimate, Metric, labelled
from groundup.metrics.intervals import RESAMPLES, bootstrap
from groundup.metrics.paired import Statistic

BLEU = Metric("bleu", "max", "BLEU", "table", percent=True)
CHRF = Metric("chrf", "max", "chrF", "table", percent=True)
ROUGE_1 = Metric("rouge_1", "max", "ROUGE-1", "table", also=("rouge1",))
ROUGE_2 = Metric("rouge_2", "max", "ROUGE-2", "table", also=("rouge2",))
ROUGE_L = Metric("rouge_l", "max", "ROUGE-L", "table", also=("rougel",))

_TOKENIZERS = {"zh": "zh", "ja": "char", "ko": "char", "other": "13a"}  # by script; MeCab is a system package
_ORDER = 4  # longest n-gram of BLEU


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    tokenize: str | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Corpus BLEU, 0..100, with a bootstrap interval over rows.

    Args:
        hypotheses: (N,) what the model wrote.
        references: (N,) one or more right answers for each row; rows may differ in their number.
        tokenize: sacreBLEU's tokenizer; None takes that of the references' script: ``zh`` for Chinese, ``char`` for
            Japanese and Korean, ``13a`` for the rest.

    Raises:
        UserError: a tokenizer other than ``zh`` on Chinese references, or one that sacreBLEU does not have.
        ValueError: no rows, or a row without a reference.

    Source: Papineni et al. 2002; Post 2018, "A call for clarity in reporting BLEU scores".
    """
    scorer = _bleu_scorer(references, tokenize)
    return replace(_estimate(scorer, _bleu_of, hypotheses, references, seed, resamples), metric=BLEU)


def overlap_statistics(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[Metric, Statistic]:
    """Corpus BLEU and chrF as functions of row weights. Arguments as for ``bleu``."""
    from sacrebleu import metrics as sacrebleu

    scorers = {BLEU: (_bleu_scorer(references, None), _bleu_of), CHRF: (sacrebleu.CHRF(), _chrf_of)}

    def of(scorer, score: Callable[[np.ndarray], np.ndarray]) -> Statistic:
        rows = _statistics(scorer, hypotheses, references)
        return lambda weights: score(weights.T @ rows)

    return {metric: of(*scorer) for metric, scorer in scorers.items()}


def _bleu_scorer(references: Sequence[Sequence[str]], tokenize: str | None):
    from sacrebleu import metrics as sacrebleu

    written_in = script(text for row in references for text in row)
    tokenize = tokenize or _TOKENIZERS[written_in]
    if tokenize not in sacrebleu.BLEU.TOKENIZERS:
        raise UserError(f"BLEU has no tokenizer {tokenize}, but {', '.join(sacrebleu.BLEU.TOKENIZERS)}")
    if written_in == "zh" and tokenize != "zh":
        raise UserError(
            f"BLEU with tokenizer {tokenize} takes a Chinese sentence for one or two words, and its figure says nothing. "
            "Try tokenize=zh"
        )
    return sacrebleu.BLEU(tokenize=tokenize, force=True)


def chrf(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Corpus chrF2 (F-score of character 1- to 6-grams), 0..100, for any script. Arguments as for ``bleu``.

    Source: Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation".
    """
    from sacrebleu import metrics as sacrebleu

    return replace(_estimate(sacrebleu.CHRF(), _chrf_of, hypotheses, references, seed, resamples), metric=CHRF)


def sentence_chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """chrF2 of each row by itself (N,), 0..100: what rows are ranked by."""
    from sacrebleu import metrics as sacrebleu

    return _chrf_of(_statistics(sacrebleu.CHRF(), hypotheses, references))


def _estimate(
    scorer,
    score: Callable[[np.ndarray], np.ndarray],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    seed: int,
    resamples: int,
) -> Estimate:
    """``score`` turns summed statistics (R, K) into values (R,); the value without resampling is sacreBLEU's own."""
    rows = _statistics(scorer, hypotheses, references)
    value = scorer._compute_score_from_stats(rows.sum(axis=0).astype(int).tolist()).score
    drawn = bootstrap(lambda weights: score(weights.T @ rows), len(rows), seed, resamples, columns=rows.shape[1])
    return Estimate(value, drawn.low, drawn.high, len(rows), scorer.get_signature().format())


def _statistics(scorer, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """sacreBLEU's counts of each row (N, K); those of a corpus are their sums."""
    if len(hypotheses) != len(references) or not hypotheses or not all(references):
        raise ValueError(
            f"{len(hypotheses)} hypotheses and {len(references)} rows of references: need as many, at least one row, "
            "and a reference in each"
        )
    most = max(len(row) for row in references)
    streams = [[row[i] if i < len(row) else None for row in references] for i in range(most)]
    return np.array(scorer._extract_corpus_statistics(hypotheses, streams), dtype=np.float64)


def _bleu_of(statistics: np.ndarray) -> np.ndarray:
    """BLEU (R,) of counts (R, 2 + 4 + 4): both lengths, n-grams that match, n-grams of the hypotheses.

    An order without a match counts as half a match, the next as a quarter ... (sacreBLEU's "exp").
    """
    length, reference_length = statistics[:, 0], statistics[:, 1]
    matches, totals = statistics[:, 2 : 2 + _ORDER], statistics[:, 2 + _ORDER :]
    missed = np.cumsum(matches == 0, axis=1)
    matches = np.where(matches > 0, matches, 0.5**missed)
    precisions = np.divide(matches, totals, out=np.zeros_like(matches), where=totals > 0)
    with np.errstate(divide="ignore"):  # the logarithm of 0 ends as a score of 0
        geometric_mean = np.exp(np.log(precisions).mean(axis=1))
        brevity = np.exp(
            np.minimum(0, 1 - np.divide(reference_length, length, out=np.full(len(length), np.inf), where=length > 0))
        )
    return np.where(missed[:, -1] == _ORDER, 0.0, 100 * brevity * geometric_mean)


def _chrf_of(statistics: np.ndarray) -> np.ndarray:
    """chrF2 (R,) of counts (R, 3 x 6): for each order the n-grams of the hypotheses, of the references, and matches."""
    theirs, ours = statistics[:, 1::3], statistics[:, 0::3]
    matches, used = statistics[:, 2::3], (ours > 0) & (theirs > 0)
    orders = np.maximum(used.sum(axis=1), 1)
    precision, recall = (
        np.divide(matches, side, out=np.zeros_like(matches), where=used).sum(axis=1) / orders for side in (ours, theirs)
    )
    below = 4 * precision + recall
    return 100 * np.divide(5 * precision * recall, below, out=np.zeros_like(below), where=below > 0)


Tokens = Sequence[str]


def rouge(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """``rouge_1``, ``rouge_2`` and ``rouge_l``: mean F1 over rows, 0..1, with bootstrap intervals. Arguments as for ``rouge_scores``."""
    means = {}
    for metric, scores in zip((ROUGE_1, ROUGE_2, ROUGE_L), rouge_scores(hypotheses, references).values(), strict=True):
        means[metric] = bootstrap(partial(_weighted_mean, scores), len(scores), seed, resamples)
    return labelled(means)


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


def sentence_rouge(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """ROUGE-L of each row by itself (N,), 0..1."""
    return rouge_scores(hypotheses, references)["rouge_l"]


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
