"""Metrics of tagged words: of words, and of entities where the tags are BIO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from seqeval.scheme import IOB2, Entities

from groundup.metrics.estimate import LOSS, Estimate, Metric, labelled
from groundup.metrics.intervals import RESAMPLES, bootstrap, wilson
from groundup.metrics.paired import Judged, Statistic
from groundup.metrics.sections import Cell, Content, Section, Table

ENTITY_F1 = Metric("entity_f1", "max", "entity F1", "table", also=("f1", "seqeval_f1", "overall_f1"))
ENTITY_PRECISION = Metric("entity_precision", "max", "entity precision", "list", also=("precision",))
ENTITY_RECALL = Metric("entity_recall", "max", "entity recall", "list", also=("recall",))
WORD_ACCURACY = Metric("accuracy", "max", "word accuracy", "table", also=("acc",))
_KINDS, _WORST = 30, 20  # of entities and of sentences that the report shows
TAGGING = (ENTITY_F1, WORD_ACCURACY, LOSS, ENTITY_PRECISION, ENTITY_RECALL)


def are_entities(tags: Sequence[str]) -> bool:
    """Whether these names of tags are BIO: ``O``, ``B-x`` and ``I-x`` and nothing else."""
    return any(tag.startswith("B-") for tag in tags) and all(tag == "O" or tag[:2] in ("B-", "I-") for tag in tags)


def tagging_metrics(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    nll: np.ndarray | None = None,
    scored: np.ndarray | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """Of sentences of tags; both have a tag for each word.

    Args:
        nll, scored: (sentences,) nats of the gold tags, and how many words they are of; None: no loss.

    Entities are scored as the CoNLL shared tasks do: one counts only with the right type and both ends, and an ``I-x``
    begins none by itself (seqeval's strict mode, IOB2). Intervals are of the bootstrap over sentences.
    Source: Tjong Kim Sang and De Meulder 2003; https://github.com/chakki-works/seqeval.
    """
    words = np.array([len(row) for row in gold])
    right = np.array([sum(map(str.__eq__, *pair)) for pair in zip(gold, predicted, strict=True)])
    found: dict[Metric, Estimate | None] = {WORD_ACCURACY: wilson(int(right.sum()), int(words.sum()))}
    if nll is not None and scored is not None:
        loss = bootstrap(lambda weights: (nll @ weights) / (scored @ weights), len(nll), resamples=resamples)
        found[LOSS] = replace(loss, n=int(scored.sum()))
    if are_entities([*{tag for row in gold for tag in row}]):
        found |= _entities(gold, predicted, resamples)
    return labelled({metric: found.get(metric) for metric in TAGGING})  # in this order in every table


def judge_tags(rows: Sequence[Mapping]) -> Judged:
    """Word accuracy and, where the tags are BIO, entity F1, precision and recall of sentences; each by its share of right words.

    Args:
        rows: as in ``predictions.jsonl``, with ``tags`` and ``predicted``.
    """
    gold, predicted = [row["tags"] for row in rows], [row["predicted"] for row in rows]
    words = np.array([len(row) for row in gold], dtype=float)
    right = np.array([sum(map(str.__eq__, *pair)) for pair in zip(gold, predicted, strict=True)], dtype=float)
    parts = {WORD_ACCURACY: (right, words)}
    if are_entities([*{tag for row in gold for tag in row}]):
        parts |= _entity_counts(gold, predicted)
    statistics: dict[Metric, Statistic] = {
        metric: partial(_ratio, *parts[metric]) for metric in TAGGING if metric in parts
    }
    return Judged(right / np.maximum(words, 1), statistics)


def _entities(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], resamples: int
) -> dict[Metric, Estimate | None]:
    counts = _entity_counts(gold, predicted)
    n = int(counts[ENTITY_RECALL][1].sum())
    return {
        metric: replace(bootstrap(partial(_ratio, *parts), len(gold), resamples=resamples), n=n)
        for metric, parts in counts.items()
    }


def _entity_counts(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> dict[Metric, tuple[np.ndarray, np.ndarray]]:
    """Metric -> two columns (sentences,): it is the sum of one / the sum of the other; 0/0 counts as 0."""
    pairs = zip(_spans(gold), _spans(predicted), strict=True)
    right, said, there = np.array(
        [(len(ours & theirs), len(theirs), len(ours)) for ours, theirs in pairs], dtype=float
    ).T
    return {ENTITY_F1: (2 * right, said + there), ENTITY_PRECISION: (right, said), ENTITY_RECALL: (right, there)}


def _ratio(above: np.ndarray, below: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return above @ weights / np.maximum(below @ weights, 1)


def tagging_sections(rows: Sequence[Mapping]) -> list[Section]:
    """Scores of each kind of entity (or of each tag, where tags are no entities), and the sentences with most mistakes.

    Args:
        rows: as in ``predictions.jsonl``, with ``tokens``, ``tags`` and ``predicted``.
    """
    if not rows:
        return []
    gold, predicted = [row["tags"] for row in rows], [row["predicted"] for row in rows]
    entities = are_entities([*{tag for row in gold for tag in row}])
    ours, theirs = (_spans(side) if entities else _as_spans(side) for side in (predicted, gold))
    said, there, right = Counter[str](), Counter[str](), Counter[str]()
    for one, other in zip(ours, theirs, strict=True):
        said.update(name for *_, name in one)
        there.update(name for *_, name in other)
        right.update(name for *_, name in one & other)
    lines: list[list[Cell | str]] = [
        [name, *_shares(right[name], said[name], there[name]), f"{there[name]:,}"]
        for name, _ in (there + said).most_common(_KINDS)
    ]
    columns: dict[str, Content] = {"entity" if entities else "tag": "word"}
    columns |= {"precision": "number", "recall": "number", "F1": "number", "in the text": "number"}
    note = "Right are those of the right kind from their first word to their last." if entities else ""
    mistakes = sorted(rows, key=lambda row: -sum(map(str.__ne__, row["tags"], row["predicted"])))[:_WORST]
    worst: list[list[Cell | str]] = [
        [" ".join(row["tokens"]), _marked(row, "tags", "predicted"), _marked(row, "predicted", "tags")]
        for row in mistakes
        if row["tags"] != row["predicted"]
    ]
    heads: dict[str, Content] = {"text": "text", "tagged in the data": "text", "predicted": "text"}
    sections = [Section("Entities" if entities else "Tags", note, [Table(columns, lines)])]
    if worst:
        sections.append(Section("Sentences with most mistakes", "Words whose tags differ.", [Table(heads, worst)]))
    return sections


def _marked(row: Mapping, shown: str, other: str) -> str:
    """``London B-LOC, Bridge I-LOC``: the words whose tags differ."""
    words = zip(row["tokens"], row[shown], row[other], strict=True)
    return ", ".join(f"{word} {tag}" for word, tag, against in words if tag != against)


def _shares(right: int, said: int, there: int) -> list[str]:
    return [f"{share:.3f}" for share in (right / (said or 1), right / (there or 1), 2 * right / ((said + there) or 1))]


def _as_spans(rows: Sequence[Sequence[str]]) -> list[set[tuple[int, int, str]]]:
    return [{(place, place + 1, tag) for place, tag in enumerate(row)} for row in rows]


def _spans(rows: Sequence[Sequence[str]]) -> list[set[tuple[int, int, str]]]:
    """(first word, last word + 1, type) of the entities of each sentence."""
    entities = Entities([*map(list, rows)], IOB2).entities
    return [{(one.start, one.end, one.tag) for one in row} for row in entities]
