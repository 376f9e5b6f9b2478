"""Metrics of written text, the same for our models and for the baselines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from groundup.metrics.estimate import Estimate, Metric, labelled
from groundup.metrics.intervals import RESAMPLES, bootstrap, wilson
from groundup.metrics.overlap import (
    BLEU,
    CHRF,
    ROUGE_1,
    ROUGE_2,
    ROUGE_L,
    bleu,
    chrf,
    ngrams,
    overlap_statistics,
    rouge,
    rouge_scores,
    sentence_chrf,
    sentence_rouge,
    tokens,
)
from groundup.metrics.paired import Judged, Statistic
from groundup.metrics.sections import Alignment, Cell, Content, Section, Table

_REPEATED = 4  # length of the n-grams whose repetition counts
EXACT_MATCH = Metric("exact_match", "max", shown="table", also=("em",), by_group=True)
# What kind of text it is, not how good.
LENGTH_RATIO, REPETITION_RATE = Metric("length_ratio"), Metric("repetition_rate")
COPY_RATE = Metric("copy_rate", shown="list")
DISTINCT = {n: Metric(f"distinct_{n}", title=f"distinct-{n}", shown="list") for n in (1, 2)}
_ABOUT_TEXT = (LENGTH_RATIO, COPY_RATE, REPETITION_RATE, *DISTINCT.values())
TRANSLATION = (BLEU, CHRF, EXACT_MATCH, *_ABOUT_TEXT)
SUMMARIZATION = (ROUGE_1, ROUGE_2, ROUGE_L, *_ABOUT_TEXT)
# Title of the report's section, and the metric and function by which its rows are ranked.
Ranked = tuple[str, Metric, Callable[[Sequence[str], Sequence[Sequence[str]]], np.ndarray]]
TRANSLATIONS: Ranked = ("Translations", CHRF, sentence_chrf)
SUMMARIES: Ranked = ("Summaries", ROUGE_L, sentence_rouge)
_SHOWN = 6  # rows of each kind
_STATUS = {"truncated": "source cut to fit", "empty": "source empty"}
_MAPS = 12


def translation_metrics(
    hypotheses: Sequence[str],
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """``TRANSLATION``: BLEU and chrF (0..100), exact match (share), and ``text_statistics``.

    Args:
        hypotheses, sources: (N,) what was written for what.
        references: (N,) one or more right answers for each row.
        resamples: of the bootstrap; 0 leaves its intervals out.

    Raises:
        ValueError: no rows, numbers of rows that differ, or a row without a reference.
    """
    return {
        "bleu": bleu(hypotheses, references, seed=seed, resamples=resamples),
        "chrf": chrf(hypotheses, references, seed=seed, resamples=resamples),
        "exact_match": exact_match(hypotheses, references),
        **text_statistics(hypotheses, sources, references, seed, resamples),
    }


def summarization_metrics(
    hypotheses: Sequence[str],
    sources: Sequence[str],
    references: Sequence[Sequence[str]],
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """``SUMMARIZATION``: ROUGE (F1, 0..1) and ``text_statistics``. Arguments as for ``translation_metrics``."""
    scores = rouge(hypotheses, references, seed, resamples)
    return {**scores, **text_statistics(hypotheses, sources, references, seed, resamples)}


def references_of(row: Mapping) -> list[str]:
    """All right answers of a row: its ``target``, then its further ``references``."""
    return [row["target"], *(row.get("references") or ())]


def judge_translations(rows: Sequence[Mapping]) -> Judged:
    """BLEU, chrF and exact match of rows as in ``predictions.jsonl``; each row by its chrF."""
    hypotheses, references = [row["hypothesis"] for row in rows], [references_of(row) for row in rows]
    hits = np.array([_matches(*pair) for pair in zip(hypotheses, references, strict=True)], dtype=float)
    statistics = overlap_statistics(hypotheses, references)
    statistics[EXACT_MATCH] = lambda weights: hits @ weights / weights.sum(axis=0)
    return Judged(sentence_chrf(hypotheses, references), statistics)


def judge_summaries(rows: Sequence[Mapping]) -> Judged:
    """ROUGE of rows as in ``predictions.jsonl``; each row by its ROUGE-L."""
    scores = rouge_scores([row["hypothesis"] for row in rows], [references_of(row) for row in rows])

    def mean(values: np.ndarray) -> Statistic:
        return lambda weights: values @ weights / weights.sum(axis=0)

    return Judged(scores["rouge_l"], {metric: mean(scores[metric.name]) for metric in (ROUGE_1, ROUGE_2, ROUGE_L)})


def exact_match(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> Estimate:
    """Share of rows that equal one of their references, blanks aside (a run of any counts as one space). Wilson interval."""
    hits = sum(_matches(*pair) for pair in zip(hypotheses, references, strict=True))
    return replace(wilson(hits, len(hypotheses)), metric=EXACT_MATCH)


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


def _matches(hypothesis: str, references: Sequence[str]) -> bool:
    return _blanks_aside(hypothesis) in map(_blanks_aside, references)


def _blanks_aside(text: str) -> str:
    return " ".join(text.split())


def written_sections(
    rows: Sequence[Mapping],
    title: str,
    metric: Metric,
    score: Callable[[Sequence[str], Sequence[Sequence[str]]], np.ndarray],
) -> list[Section]:
    """What was written: the worst rows, those around the median, and the best, by a score of each row.

    Args:
        rows: as in ``predictions.jsonl``, with ``source``, ``hypothesis``, and maybe ``target``, ``references``, ``status``.
        score: hypotheses (N,) and references (N,) -> (N,), in the unit of ``metric``.
    """
    if not rows:
        return []
    known = [row for row in rows if row.get("target") is not None]
    if not known:
        return [Section(title, _counted(rows), [_texts(rows[: 2 * _SHOWN])])]
    scores = score([row["hypothesis"] for row in known], [references_of(row) for row in known])
    tables = []
    for name, chosen in _chosen(scores).items():
        figures = [f"{scores[i]:.1f}" if metric.percent else f"{scores[i]:.3f}" for i in chosen]
        tables.append(_texts([known[i] for i in chosen], figures, name, str(metric)))
    return [Section(title, _counted(rows), tables)]


def attention_sections(maps: Sequence[Mapping]) -> list[Section]:
    """Where a decoder looked in its source: one map a text, ``{"source": [S], "target": [U], "weights": [U][S]}``."""
    note = (
        "Across: the source. Down: what the decoder wrote. The darker, the more weight on that place of the source; "
        "each row adds up to 1. Of the pointer where there is one, else of the top layer, mean over heads."
    )
    shown = [one for one in maps if one["source"] and one["target"]][:_MAPS]
    parts = [Alignment(one["source"], one["target"], one["weights"]) for one in shown]
    return [Section("Cross-attention", note, parts)] if parts else []


def _chosen(scores: np.ndarray) -> dict[str, list[int]]:
    """Places of the worst rows, of those around the median, and of the best; no row twice."""
    order = np.argsort(scores, kind="stable").tolist()
    if len(order) <= 3 * _SHOWN:
        return {"From worst to best": order}
    middle = len(order) // 2 - _SHOWN // 2
    around = order[middle : middle + _SHOWN]
    return {"Worst": order[:_SHOWN], "Around the median": around, "Best": order[: -_SHOWN - 1 : -1]}


def _counted(rows: Sequence[Mapping]) -> str:
    """How many rows there are, and how many of them have a flag."""
    statuses = Counter(row.get("status", "ok") for row in rows)
    said = [f"{len(rows):,} rows"]
    said += [f"{n:,} with the {_STATUS[status]}" for status, n in statuses.items() if status in _STATUS]
    said += [f"{n:,} {status}" for status, n in statuses.items() if status not in (*_STATUS, "ok")]
    silent = sum(not row["hypothesis"].strip() for row in rows)
    said += [f"{silent:,} without any text written"] if silent else []
    return "; ".join(said) + "."


def _texts(rows: Sequence[Mapping], figures: Sequence[str] = (), title: str = "", measure: str = "") -> Table:
    lines: list[list[Cell | str]] = []
    for row in rows:
        status = row.get("status", "ok")
        source = Cell(row["source"], flag="" if status == "ok" else _STATUS.get(status, str(status)))
        reference = Cell(row.get("target") or "", below=list(row.get("references") or ()))
        lines.append([source, reference, row["hypothesis"] or "–"])
    columns: dict[str, Content] = dict.fromkeys(("source", "reference", "hypothesis"), "text")
    if figures:
        columns[measure] = "number"
        lines = [[*line, figure] for line, figure in zip(lines, figures, strict=True)]
    return Table(columns, lines, title, f"by {measure} of the row" if measure else "")
