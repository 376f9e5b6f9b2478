"""Metrics of tagged words: of words, and of entities where the tags are BIO."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from seqeval.scheme import IOB1, IOB2, IOBES, Entities

from groundup.metrics.estimate import LOSS, Estimate, Metric, labelled
from groundup.metrics.intervals import RESAMPLES, bootstrap, wilson
from groundup.metrics.paired import Judged, Statistic
from groundup.metrics.sections import Cell, Content, Mark, Matrix, Section, Table
from groundup.text.schemes import Scheme, misfit, parse, scheme_of

ENTITY_F1 = Metric("entity_f1", "max", "entity F1", "table", also=("f1", "seqeval_f1", "overall_f1"))
ENTITY_PRECISION = Metric("entity_precision", "max", "entity precision", "list", also=("precision",))
ENTITY_RECALL = Metric("entity_recall", "max", "entity recall", "list", also=("recall",))
WORD_ACCURACY = Metric("accuracy", "max", "word accuracy", "table", also=("acc",))
_SCHEMES = {"bio": IOB2, "iob1": IOB1, "bioes": IOBES}
_KINDS, _COMPARED, _WORST = 30, 20, 20  # types, types against each other, and sentences that the report shows
TAGGING = (ENTITY_F1, WORD_ACCURACY, LOSS, ENTITY_PRECISION, ENTITY_RECALL)


class Span(NamedTuple):
    """An entity: its first word, the one behind its last, and its type."""

    start: int
    end: int
    type: str


def scheme_in(*sides: Sequence[Sequence[str]]) -> Scheme | None:
    """The scheme that sentences of tags are in, by their names; None: they are no entities."""
    return scheme_of(Counter(tag for side in sides for row in side for tag in row))


def tagging_metrics(
    gold: Sequence[Sequence[str]],
    predicted: Sequence[Sequence[str]],
    scheme: Scheme | None,
    nll: np.ndarray | None = None,
    scored: np.ndarray | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Estimate]:
    """Of sentences of tags; both have a tag for each word.

    Args:
        scheme: how tags spell entities; None: they spell none.
        nll, scored: (sentences,) nats of the gold tags, and how many words they are of; None: no loss.

    Entities are scored as the CoNLL shared tasks do: one counts only with the right type and both ends, and only if it is
    spelled by the rules: in BIO, an ``I-x`` begins none by itself (seqeval's strict mode). Intervals are of the bootstrap over sentences.
    Source: Tjong Kim Sang and De Meulder 2003; https://github.com/chakki-works/seqeval.
    """
    words = np.array([len(row) for row in gold])
    right = np.array([sum(map(str.__eq__, *pair)) for pair in zip(gold, predicted, strict=True)])
    found: dict[Metric, Estimate | None] = {WORD_ACCURACY: wilson(int(right.sum()), int(words.sum()))}
    if nll is not None and scored is not None:
        loss = bootstrap(lambda weights: (nll @ weights) / (scored @ weights), len(nll), resamples=resamples)
        found[LOSS] = replace(loss, n=int(scored.sum()))
    if scheme is not None:
        found |= _entities(gold, predicted, scheme, resamples)
    return labelled({metric: found.get(metric) for metric in TAGGING})  # in this order in every table


def judge_tags(rows: Sequence[Mapping]) -> Judged:
    """Word accuracy and, where the tags are entities, their F1, precision and recall of sentences; each by its share of right words.

    Args:
        rows: as in ``predictions.jsonl``, with ``tags``, ``predicted`` and the ``scheme`` in which entities were counted;
            without it that which the names of the tags show.
    """
    gold, predicted = [row["tags"] for row in rows], [row["predicted"] for row in rows]
    scheme = rows[0]["scheme"] if "scheme" in rows[0] else scheme_in(gold)
    if scheme is not None and scheme not in _SCHEMES:
        raise ValueError(f"{scheme} is no scheme of tags")
    words = np.array([len(row) for row in gold], dtype=float)
    right = np.array([sum(map(str.__eq__, *pair)) for pair in zip(gold, predicted, strict=True)], dtype=float)
    parts = {WORD_ACCURACY: (right, words)}
    if scheme is not None:
        parts |= _entity_counts(gold, predicted, scheme)
    statistics: dict[Metric, Statistic] = {
        metric: partial(_ratio, *parts[metric]) for metric in TAGGING if metric in parts
    }
    return Judged(right / np.maximum(words, 1), statistics)


def entity_f1(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scheme: Scheme) -> float:
    """The strict F1 of ``tagging_metrics`` alone."""
    above, below = _entity_counts(gold, predicted, scheme)[ENTITY_F1]
    return float(_ratio(above, below, np.ones(len(gold))))


def _entities(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scheme: Scheme, resamples: int
) -> dict[Metric, Estimate | None]:
    counts = _entity_counts(gold, predicted, scheme)
    n = int(counts[ENTITY_RECALL][1].sum())
    return {
        metric: replace(bootstrap(partial(_ratio, *parts), len(gold), resamples=resamples), n=n)
        for metric, parts in counts.items()
    }


def _entity_counts(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], scheme: Scheme
) -> dict[Metric, tuple[np.ndarray, np.ndarray]]:
    """Metric -> two columns (sentences,): it is the sum of one / the sum of the other; 0/0 counts as 0."""
    pairs = zip(spans(gold, scheme), spans(predicted, scheme), strict=True)
    right, said, there = np.array(
        [(len({*ours} & {*theirs}), len(theirs), len(ours)) for ours, theirs in pairs], dtype=float
    ).T
    return {ENTITY_F1: (2 * right, said + there), ENTITY_PRECISION: (right, said), ENTITY_RECALL: (right, there)}


def _ratio(above: np.ndarray, below: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return above @ weights / np.maximum(below @ weights, 1)


def tagging_sections(rows: Sequence[Mapping], scheme: Scheme | None, train: Sequence[Mapping] = ()) -> list[Section]:
    """Scores of each type of entity (or of each tag, where tags are no entities), what was taken for what, how those fare
    that training had, and the sentences with most mistakes.

    Args:
        rows: as in ``predictions.jsonl``, with ``tokens``, ``tags`` and ``predicted``.
        train: with ``tokens`` and ``tags``; empty: nothing is told of what training had.
    """
    if not rows:
        return []
    gold, predicted = [row["tags"] for row in rows], [row["predicted"] for row in rows]
    ours, theirs = (_as_spans(side) if scheme is None else spans(side, scheme) for side in (predicted, gold))
    said, there, right = Counter[str](), Counter[str](), Counter[str]()
    for one, other in zip(ours, theirs, strict=True):
        said.update(name for *_, name in one)
        there.update(name for *_, name in other)
        right.update(name for *_, name in {*one} & {*other})
    names = [name for name, _ in (there + said).most_common(_KINDS)]
    lines: list[list[Cell | str]] = [
        [name, *_shares(right[name], said[name], there[name]), f"{there[name]:,}"] for name in names
    ]
    what = "tag" if scheme is None else "entity"
    columns: dict[str, Content] = {what: "word"}
    columns |= {"precision": "number", "recall": "number", "F1": "number", "in the text": "number"}
    note = "Right are those of the right type from their first word to their last." if scheme else ""
    parts: list[Table | Matrix] = [Table(columns, lines), _confusion(ours, theirs, names[:_COMPARED], scheme)]
    if train:
        parts.append(_familiar(rows, ours, theirs, train, scheme))
    sections = [Section("Entities" if scheme else "Tags", note, parts)]
    mistakes = sorted(range(len(rows)), key=lambda place: -len({*ours[place]} ^ {*theirs[place]}))[:_WORST]
    worst = [
        _compared(rows[place], ours[place], theirs[place], scheme) for place in mistakes if ours[place] != theirs[place]
    ]
    if worst:
        heads: dict[str, Content] = {"tagged in the data": "text", "predicted": "text"}
        if scheme is None:
            heads = {"text": "text", **heads}
        sections.append(Section("Sentences with most mistakes", "", [Table(heads, worst)]))
    return sections


def _confusion(
    ours: Sequence[Sequence[Span]], theirs: Sequence[Sequence[Span]], names: Sequence[str], scheme: Scheme | None
) -> Matrix:
    """Types against types, of the same words; ``none``: there is no such entity on the other side."""
    labels = [*names, "none"] if scheme else [*names]
    number = {name: place for place, name in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=int)
    for one, other in zip(ours, theirs, strict=True):
        said, there = ({(begin, end): name for begin, end, name in side} for side in (one, other))
        for place in said.keys() | there.keys():
            pair = there.get(place, "none"), said.get(place, "none")
            if {*pair} <= number.keys():
                counts[number[pair[0]], number[pair[1]]] += 1
    return Matrix(labels, counts.tolist())


def _familiar(
    rows: Sequence[Mapping],
    ours: Sequence[Sequence[Span]],
    theirs: Sequence[Sequence[Span]],
    train: Sequence[Mapping],
    scheme: Scheme | None,
) -> Table:
    """How many are found of those that stand in the training split, and of those that do not."""
    places = spans([row["tags"] for row in train], scheme) if scheme else _as_spans([row["tags"] for row in train])
    known = {" ".join(row["tokens"][begin:end]) for row, of in zip(train, places, strict=True) for begin, end, _ in of}
    found, all_of_them = Counter[bool](), Counter[bool]()
    for row, one, other in zip(rows, ours, theirs, strict=True):
        for span in other:
            seen = " ".join(row["tokens"][span.start : span.end]) in known
            all_of_them[seen] += 1
            found[seen] += span in one
    lines = [
        [name, f"{found[seen] / (all_of_them[seen] or 1):.3f}", f"{all_of_them[seen]:,}"]
        for name, seen in (("seen in training", True), ("never seen", False))
    ]
    return Table({"entity" if scheme else "word": "word", "recall": "number", "in the text": "number"}, lines)


def _compared(row: Mapping, ours: Sequence[Span], theirs: Sequence[Span], scheme: Scheme | None) -> list[Cell | str]:
    """A sentence with its entities marked, as in the data and as predicted; of tags, the words whose tags differ."""
    if scheme is None:
        return [" ".join(row["tokens"]), _marked(row, "tags", "predicted"), _marked(row, "predicted", "tags")]
    words = [" ".join(word.split()) for word in row["tokens"]]
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    return [
        Cell(
            " ".join(words),
            marks=[
                Mark(int(ends[one.start]) - len(words[one.start]), int(ends[one.end - 1]), one.type, one in others)
                for one in side
            ],
        )
        for side, others in ((theirs, ours), (ours, theirs))
    ]


def _marked(row: Mapping, shown: str, other: str) -> str:
    """``London B-LOC, Bridge I-LOC``: the words whose tags differ."""
    words = zip(row["tokens"], row[shown], row[other], strict=True)
    return ", ".join(f"{word} {tag}" for word, tag, against in words if tag != against)


def _shares(right: int, said: int, there: int) -> list[str]:
    return [f"{share:.3f}" for share in (right / (said or 1), right / (there or 1), 2 * right / ((said + there) or 1))]


def _as_spans(rows: Sequence[Sequence[str]]) -> list[list[Span]]:
    return [[Span(place, place + 1, tag) for place, tag in enumerate(row)] for row in rows]


def spans(rows: Sequence[Sequence[str]], scheme: Scheme) -> list[list[Span]]:
    """The entities of each sentence, in order; tags that the scheme has no letter for are outside."""
    return [
        [Span(one.start, one.end, "" if one.tag == "_" else one.tag) for one in row]
        for row in Entities([[_plain(tag, scheme) for tag in row] for row in rows], _SCHEMES[scheme]).entities
    ]


def _plain(tag: str, scheme: Scheme) -> str:
    """The tag in the letters that seqeval knows."""
    if tag == "O" or misfit(scheme, (tag,)) is not None:
        return "O"
    letter, kind = parse(tag)
    return f"{letter}-{kind or '_'}"
