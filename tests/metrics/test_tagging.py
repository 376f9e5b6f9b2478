"""Entities are counted as seqeval counts them."""

from __future__ import annotations

import random

import pytest
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from groundup.metrics.tagging import are_entities, tagging_metrics, tagging_sections

TAGS = ["O", "O", "B-a", "I-a", "B-b", "I-b"]


def sentences(seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Gold and predicted tags of some sentences; half of the words agree."""
    draw = random.Random(seed)
    gold = [draw.choices(TAGS, k=draw.randint(0, 12)) for _ in range(draw.randint(1, 9))]
    return gold, [[tag if draw.random() < 0.5 else draw.choice(TAGS) for tag in row] for row in gold]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(200))
def test_scores_equal_seqeval(seed):
    gold, predicted = sentences(seed)
    if not are_entities([tag for row in gold for tag in row]):
        assert not {"entity_f1"} & tagging_metrics(gold, predicted, resamples=0).keys()
        return
    found = tagging_metrics(gold, predicted, resamples=0)
    for name, score in {"f1": f1_score, "precision": precision_score, "recall": recall_score}.items():
        expected = score(gold, predicted, mode="strict", scheme=IOB2, zero_division=0)
        assert found[f"entity_{name}"].value == pytest.approx(expected)
    words = [one == other for pair in zip(gold, predicted) for one, other in zip(*pair)]
    assert found["accuracy"].value == pytest.approx(sum(words) / len(words)) and found["accuracy"].n == len(words)


def test_intervals_hold_the_value_and_parts_of_speech_are_no_entities():
    gold, predicted = sentences(3)
    found = tagging_metrics(gold * 20, predicted * 20)
    assert all(one.low <= one.value <= one.high for one in found.values())
    assert tagging_metrics([["NOUN", "VERB"]], [["NOUN", "X"]]).keys() == {"accuracy"}


def test_the_report_shows_each_kind_and_the_worst_sentences():
    row = {"tokens": ["in", "New", "York"], "tags": ["O", "B-place", "I-place"], "predicted": ["O", "B-place", "O"]}
    kinds, worst = tagging_sections([row, {**row, "predicted": row["tags"]}])
    assert list(kinds.parts[0].rows[0]) == ["place", "0.500", "0.500", "0.500", "2"]
    assert worst.parts[0].rows == [["in New York", "York I-place", "York O"]]
    assert tagging_sections([]) == []
