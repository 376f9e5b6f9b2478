"""Entities are counted as seqeval counts them, in every scheme."""

from __future__ import annotations

import random

import pytest
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB1, IOB2, IOBES

from groundup.metrics.tagging import scheme_in, spans, tagging_metrics, tagging_sections

LETTERS = {"bio": "BI", "iob1": "BI", "bioes": "BIES"}
SEQEVAL = {"bio": IOB2, "iob1": IOB1, "bioes": IOBES}


def sentences(seed: int, scheme: str = "bio") -> tuple[list[list[str]], list[list[str]]]:
    """Gold and predicted tags of some sentences, well formed or not; half of the words agree."""
    draw = random.Random(seed)
    tags = ["O", "O", *(f"{letter}-{kind}" for letter in LETTERS[scheme] for kind in "ab")]
    gold = [draw.choices(tags, k=draw.randint(0, 12)) for _ in range(draw.randint(1, 9))]
    return gold, [[tag if draw.random() < 0.5 else draw.choice(tags) for tag in row] for row in gold]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scheme", LETTERS)
@pytest.mark.parametrize("seed", range(200))
def test_scores_equal_seqeval(seed, scheme):
    gold, predicted = sentences(seed, scheme)
    found = tagging_metrics(gold, predicted, scheme, resamples=0)
    for name, score in {"f1": f1_score, "precision": precision_score, "recall": recall_score}.items():
        expected = score(gold, predicted, mode="strict", scheme=SEQEVAL[scheme], zero_division=0)
        assert found[f"entity_{name}"].value == pytest.approx(expected)
    words = [one == other for pair in zip(gold, predicted) for one, other in zip(*pair)]
    if words:
        assert found["accuracy"].value == pytest.approx(sum(words) / len(words)) and found["accuracy"].n == len(words)


def test_other_letters_spell_the_same_entities():
    gold, predicted = sentences(5, "bioes")
    expected = tagging_metrics(gold, predicted, "bioes")
    for letters in ({"I": "M"}, {"E": "L", "S": "U"}):
        respelled = [
            [[letters.get(tag[0], tag[0]) + tag[1:].replace("-", "_") for tag in row] for row in side]
            for side in (gold, predicted)
        ]
        assert scheme_in(*respelled) == "bioes"
        assert tagging_metrics(*respelled, "bioes") == expected
    assert spans([["B", "M", "E", "S", "O", "E"]], "bioes") == [[(0, 3, ""), (3, 4, "")]]


def test_a_tag_of_another_scheme_is_outside():
    assert spans([["B-a", "E-a", "NOUN", "", "I-a"]], "bio") == [[(0, 1, "a")]]


def test_intervals_hold_the_value_and_parts_of_speech_are_no_entities():
    gold, predicted = sentences(3)
    found = tagging_metrics(gold * 20, predicted * 20, "bio")
    assert all(one.low <= one.value <= one.high for one in found.values())
    assert scheme_in([["NOUN", "VERB"]]) is None
    assert tagging_metrics([["NOUN", "VERB"]], [["NOUN", "X"]], None).keys() == {"accuracy"}


def test_the_report_shows_each_type_and_marks_the_entities_of_the_worst_sentences():
    row = {"tokens": ["in", "New", "York"], "tags": ["O", "B-place", "I-place"], "predicted": ["O", "B-place", "O"]}
    train = [{"tokens": ["New", "York"], "tags": ["B-place", "I-place"]}]
    kinds, worst = tagging_sections([row, {**row, "predicted": row["tags"]}], "bio", train)
    scores, confusion, familiar = kinds.parts
    assert list(scores.rows[0]) == ["place", "0.500", "0.500", "0.500", "2"]
    assert confusion.labels == ["place", "none"] and confusion.counts == [[1, 1], [1, 0]]
    assert familiar.rows == [["seen in training", "0.500", "2"], ["never seen", "0.000", "0"]]
    ((gold, said),) = worst.parts[0].rows
    assert [(piece, mark and (mark.name, mark.right)) for piece, mark in gold.pieces()] == [
        ("in ", None),
        ("New York", ("place", False)),
    ]
    assert [piece for piece, _ in said.pieces()] == ["in ", "New", " York"]
    assert tagging_sections([], "bio") == []


def test_parts_of_speech_are_compared_word_by_word():
    row = {"tokens": ["the", "oak"], "tags": ["D", "N"], "predicted": ["D", "V"]}
    kinds, worst = tagging_sections([row], None)
    assert kinds.parts[1].counts[kinds.parts[1].labels.index("N")][kinds.parts[1].labels.index("V")] == 1
    assert worst.parts[0].rows == [["the oak", "oak N", "oak V"]]
