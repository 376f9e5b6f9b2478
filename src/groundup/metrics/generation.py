"""Metrics of written text, the same for our models and for the baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from groundup.metrics.estimate import Estimate, Metric, labelled
from groundup.metrics.intervals import RESAMPLES, bootstrap, wilson
from groundup.metrics.overlap import BLEU, CHRF, ROUGE_1, ROUGE_2, ROUGE_L, bleu, chrf, ngrams, rouge, tokens

_REPEATED = 4  # length of the n-grams whose repetition counts
EXACT_MATCH = Metric("exact_match", "max", shown="table", also=("em",), by_group=True)
# What kind of text it is, not how good.
LENGTH_RATIO, REPETITION_RATE = Metric("length_ratio"), Metric("repetition_rate")
COPY_RATE = Metric("copy_rate", shown="list")
DISTINCT = {n: Metric(f"distinct_{n}", title=f"distinct-{n}", shown="list") for n in (1, 2)}
_ABOUT_TEXT = (LENGTH_RATIO, COPY_RATE, REPETITION_RATE, *DISTINCT.values())
TRANSLATION = (BLEU, CHRF, EXACT_MATCH, *_ABOUT_TEXT)
SUMMARIZATION = (ROUGE_1, ROUGE_2, ROUGE_L, *_ABOUT_TEXT)


def generation_metrics(
    hypotheses: Sequence[str],
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    names: Literal["translation", "summarization"],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """What was written (N,) against its sources (N,) and one or more references for each row (N,).

    * translation: ``bleu``, ``chrf`` (0..100), ``exact_match`` (share);
    * summarization: ``rouge_1``, ``rouge_2``, ``rouge_l`` (F1, 0..1);
    * both, on the tokens of ROUGE: ``length_ratio``, and the shares ``copy_rate``, ``repetition_rate``, ``distinct_1``,
      ``distinct_2``. They tell what kind of text it is, not how good.

    ``resamples=0`` leaves bootstrap intervals out.

    Raises:
        ValueError: no rows, numbers of rows that differ, or a row without a reference.
    """
    if names == "translation":
        main = labelled(
            {
                BLEU: bleu(hypotheses, references, seed=seed, resamples=resamples),
                CHRF: chrf(hypotheses, references, seed=seed, resamples=resamples),
                EXACT_MATCH: exact_match(hypotheses, references),
            }
        )
    elif names == "summarization":
        main = rouge(hypotheses, references, seed, resamples)
    else:
        raise ValueError(f"names={names!r}: translation or summarization")
    return {**main, **text_statistics(hypotheses, sources, references, seed, resamples)}


def references_of(row: Mapping) -> list[str]:
    """All right answers of a row: its ``target``, then its further ``references``."""
    return [row["target"], *(row.get("references") or ())]


def exact_match(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Estimate:
    """Share of rows that equal one of their references, blanks aside (a run of any counts as one space). Wilson interval."""
    hits = sum(_blanks_aside(text) in map(_blanks_aside, row) for text, row in zip(hypotheses, references, strict=True))
    return wilson(hits, len(hypotheses))


def text_statistics(
    hypotheses: Sequence[str],
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """What kind of text it is, counted over all rows together.

    * ``length_ratio``: tokens written / tokens of the references (their mean, where a row has several);
    * ``copy_rate``: share of the tokens written that come from the row's source, each token of it used once, order aside;
    * ``repetition_rate``: share of the 4-grams that occurred before in the same text;
    * ``distinct_1``, ``distinct_2``: different words and word pairs / all of them, over the whole split: comparable between
      systems on the same rows only, and without an interval, as drawing a row twice would repeat its words.
      Source: Li et al. 2016, "A diversity-promoting objective function for neural conversation models".

    A share of nothing is 0.
    """
    written = [tokens(text) for text in hypotheses]
    rows = zip(written, sources, references, strict=True)
    counts = np.array([_counts(*row) for row in rows], dtype=np.float64)
    pairs = {LENGTH_RATIO: (0, 1), COPY_RATE: (2, 0), REPETITION_RATE: (3, 4)}
    result = {metric: _ratio(counts[:, pair], seed, resamples) for metric, pair in pairs.items()}
    for n, metric in DISTINCT.items():
        seen: Counter = Counter()
        for text in written:
            seen.update(ngrams(text, n))
        result[metric] = Estimate(len(seen) / max(1, seen.total()), None, None, len(written))
    return labelled(result)


def _counts(written: list[str], source: str, references: Sequence[str]) -> tuple[float, ...]:
    """Tokens written, tokens of a reference, tokens from the source, 4-grams that repeat one, 4-grams."""
    runs = ngrams(written, _REPEATED)
    return (
        len(written),
        float(np.mean([len(tokens(text)) for text in references])),
        (Counter(written) & Counter(tokens(source))).total(),
        runs.total() - len(runs),
        runs.total(),
    )


def _ratio(counts: np.ndarray, seed: int, resamples: int) -> Estimate:
    """Sum of the first column / sum of the second of counts (N, 2), with the rows resampled."""

    def ratio(weights: np.ndarray) -> np.ndarray:
        above, below = counts.T @ weights
        return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)

    return bootstrap(ratio, len(counts), seed, resamples)


def _blanks_aside(text: str) -> str:
    return " ".join(text.split())
