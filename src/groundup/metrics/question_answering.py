"""Exact match and F1 of answers, as SQuAD's own scripts count them; of Chinese answers as that of CMRC 2018 does."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from groundup.metrics.estimate import LOSS, Estimate, Metric, labelled
from groundup.metrics.intervals import RESAMPLES, bootstrap, wilson
from groundup.metrics.overlap import script
from groundup.metrics.paired import Judged

EXACT_MATCH = Metric("exact_match", "max", "exact match", "table", also=("em", "exact"))
F1 = Metric("f1", "max", "F1", "table", also=("squad_f1",))
HAS_EXACT_MATCH = Metric(
    "has_answer_exact_match", "max", "exact match where there is an answer", "list", also=("hasans_exact",)
)
HAS_F1 = Metric("has_answer_f1", "max", "F1 where there is an answer", "list", also=("hasans_f1",))
NO_ANSWER = Metric(
    "no_answer_accuracy", "max", "accuracy where there is none", "list", also=("noans_f1", "noans_exact")
)
QUESTION_ANSWERING = (F1, EXACT_MATCH, LOSS, HAS_F1, HAS_EXACT_MATCH, NO_ANSWER)

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
Scores = tuple[np.ndarray, np.ndarray]  # exact match, F1: (questions,) each, 0..1


def normalized(text: str) -> str:
    """Lower case, without ASCII punctuation, without articles, one space between words. Source: SQuAD's evaluation script."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def answer_scores(predicted: Sequence[str], answers: Sequence[Sequence[str]]) -> Scores:
    """Exact match and F1 of each question; of several answers the one that fits best counts, for each by itself.

    Args:
        predicted: (questions,) an answer; empty: there is none.
        answers: (questions,) the right ones; none at all: there is no answer.

    Where a question has no answer, all are scored as by SQuAD 2.0's script, else as by 1.1's: these differ where nothing
    is left of an answer such as "A". Where the answers are Chinese, as by CMRC 2018's.
    Source: Rajpurkar et al. 2016; Rajpurkar et al. 2018; Cui et al. 2019.
    """
    if script(text for texts in answers for text in texts) in ("zh", "ja"):
        same, overlap = _same_characters, chinese_f1
    else:
        same, overlap = _same_words, word_f1
    second = not all(answers)
    pairs = []
    for said, texts in zip(predicted, answers, strict=True):
        right = [text for text in texts if normalized(text)] or [""] if second else texts
        pairs.append((max(same(said, text) for text in right), max(_f1(overlap, said, text, second) for text in right)))
    exact, f1 = np.array(pairs, dtype=float).reshape(-1, 2).T
    return exact, f1


def word_f1(said: Sequence[str], right: Sequence[str]) -> float:
    """Harmonic mean of precision and recall of the words; 0 without a common one."""
    common = (Counter(said) & Counter(right)).total()
    return 2 * common / (len(said) + len(right)) if common else 0.0


def chinese_f1(said: Sequence[str], right: Sequence[str]) -> float:
    """The same of the longest run of characters (or Latin words) that both have."""
    common = _longest_run(said, right)
    return 2 * common / (len(said) + len(right)) if common else 0.0


def segments(text: str) -> list[str]:
    """Chinese characters one by one, runs of other letters and digits as words, all lower-cased; without punctuation."""
    marks = "".join(" " if unicodedata.category(one)[0] in "PS" else one for one in text.lower())
    return re.findall(r"[\u4e00-\u9fff\u3400-\u4dbf\u3041-\u30ff]|[^\s\u4e00-\u9fff\u3400-\u4dbf\u3041-\u30ff]+", marks)


def question_answering_metrics(
    scores: Scores,
    answerable: np.ndarray,
    nll: np.ndarray | None = None,
    scored: np.ndarray | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """Means over questions: shares with Wilson's interval, the others with that of the bootstrap over questions.

    Args:
        scores: of ``answer_scores``.
        answerable: (questions,) bool, whether a question has an answer. Those with and without are told apart where
            there are both.
        nll, scored: (questions,) nats of first and last tokens, and how many of these; None: no loss.
    """
    exact, f1 = scores
    found: dict[Metric, Estimate | None] = {}

    def add(metric: Metric, above: np.ndarray, below: np.ndarray) -> None:
        counted = bootstrap(partial(_ratio, above, below), len(above), resamples=resamples)
        found[metric] = replace(counted, n=int(below.sum()))

    def add_share(metric: Metric, hits: np.ndarray) -> None:
        found[metric] = wilson(float(hits.sum()), len(hits))

    add_share(EXACT_MATCH, exact)
    add(F1, f1, np.ones_like(f1))
    if nll is not None and scored is not None:
        add(LOSS, nll, scored)
    if 0 < answerable.sum() < len(answerable):
        add_share(HAS_EXACT_MATCH, exact[answerable])
        add(HAS_F1, f1 * answerable, answerable)
        add_share(NO_ANSWER, f1[~answerable])
    return labelled({metric: found.get(metric) for metric in QUESTION_ANSWERING})  # in this order in every table


def judged_answers(rows: Sequence[Mapping]) -> Judged:
    """What answers are worth: ``rows`` as in ``predictions.jsonl``, with their ``f1`` and ``exact_match``."""
    columns = {metric: np.array([row[metric.name] for row in rows], dtype=float) for metric in (F1, EXACT_MATCH)}
    statistics = {metric: partial(_ratio, values, np.ones_like(values)) for metric, values in columns.items()}
    return Judged(columns[F1], statistics)


def best_threshold(scores: np.ndarray, f1: np.ndarray, answerable: np.ndarray) -> float:
    """The score above which to answer, so that mean F1 is highest; of several such the lowest.

    Args:
        scores: (questions,) of the best span; f1: what it gives; an answer held back gives 1 where there is none.
    """
    order = np.argsort(-scores, kind="stable")
    scores, gain = scores[order], (f1 - ~answerable)[order]  # what answering adds
    total = np.concatenate([[0.0], np.cumsum(gain)])  # by how many are answered
    cuts = np.concatenate([[True], scores[1:] < scores[:-1], [True]])  # equal scores are answered alike
    best = int(np.flatnonzero(cuts & (total >= total[cuts].max() - 1e-9))[-1])
    above = scores[best - 1] if best else scores[0] + 2.0
    below = scores[best] if best < len(scores) else scores[-1] - 2.0
    return float((above + below) / 2)


def _f1(overlap: Callable[..., float], said: str, right: str, second: bool) -> float:
    parts = (lambda text: normalized(text).split()) if overlap is word_f1 else segments
    ours, theirs = parts(said), parts(right)
    if second and not (ours and theirs):
        return float(ours == theirs)
    return overlap(ours, theirs)


def _same_words(said: str, right: str) -> float:
    return float(normalized(said) == normalized(right))


def _same_characters(said: str, right: str) -> float:
    return float("".join(segments(said)) == "".join(segments(right)))


def _longest_run(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common run."""
    best, row = 0, [0] * (len(other) + 1)
    for item in one:
        before = 0
        for place, candidate in enumerate(other, 1):
            before, row[place] = row[place], before + 1 if item == candidate else 0
            best = max(best, row[place])
    return best


def _ratio(above: np.ndarray, below: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return above @ weights / np.maximum(below @ weights, 1e-9)
