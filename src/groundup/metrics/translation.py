"""BLEU and chrF by sacreBLEU, with intervals and the signature that makes them comparable.

Texts are detokenized and cased, as people read them; sacreBLEU does its own tokenization.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from groundup.errors import UserError
from groundup.metrics.estimate import RESAMPLES, Estimate, bootstrap
from groundup.metrics.rouge import script

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
    from sacrebleu.metrics import BLEU

    written_in = script(text for row in references for text in row)
    tokenize = tokenize or _TOKENIZERS[written_in]
    if tokenize not in BLEU.TOKENIZERS:
        raise UserError(f"BLEU has no tokenizer {tokenize}, but {', '.join(BLEU.TOKENIZERS)}")
    if written_in == "zh" and tokenize != "zh":
        raise UserError(
            f"BLEU with tokenizer {tokenize} takes a Chinese sentence for one or two words, and its figure says nothing. "
            "Try tokenize=zh"
        )
    return _estimate(BLEU(tokenize=tokenize, force=True), _bleu_of, hypotheses, references, seed, resamples)


def chrf(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """Corpus chrF2 (F-score of character 1- to 6-grams), 0..100, for any script. Arguments as for ``bleu``.

    Source: Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation".
    """
    from sacrebleu.metrics import CHRF

    return _estimate(CHRF(), _chrf_of, hypotheses, references, seed, resamples)


def sentence_chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """chrF2 of each row by itself (N,), 0..100: what rows are ranked by."""
    from sacrebleu.metrics import CHRF

    return _chrf_of(_statistics(CHRF(), hypotheses, references))


def _estimate(
    metric,
    score: Callable[[np.ndarray], np.ndarray],
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    seed: int,
    resamples: int,
) -> Estimate:
    """``score`` turns summed statistics (R, K) into values (R,); the value without resampling is sacreBLEU's own."""
    rows = _statistics(metric, hypotheses, references)
    value = metric._compute_score_from_stats(rows.sum(axis=0).astype(int).tolist()).score
    drawn = bootstrap(lambda weights: score(weights.T @ rows), len(rows), seed, resamples, columns=rows.shape[1])
    return Estimate(value, drawn.low, drawn.high, len(rows), metric.get_signature().format())


def _statistics(metric, hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> np.ndarray:
    """sacreBLEU's counts of each row (N, K); those of a corpus are their sums."""
    if len(hypotheses) != len(references) or not hypotheses or not all(references):
        raise ValueError(
            f"{len(hypotheses)} hypotheses and {len(references)} rows of references: need as many, at least one row, "
            "and a reference in each"
        )
    most = max(len(row) for row in references)
    streams = [[row[i] if i < len(row) else None for row in references] for i in range(most)]
    return np.array(metric._extract_corpus_statistics(hypotheses, streams), dtype=np.float64)


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
