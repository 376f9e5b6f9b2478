"""Rows that are evaluated and stand in train, too, are counted and said."""

from __future__ import annotations

import logging

import pytest

from groundup.data.batching import Bucketed
from groundup.data.labelled import LabelledText
from groundup.data.seen import seen_rows
from groundup.data.sources.source import GivenRows
from groundup.data.text_data import TextData
from groundup.system.cache import Cache
from groundup.text.tokenizer import TokenizerSpec

TRAIN = ["A fine film", "很好的酒店", "once more", "", "long " * 4000]


def count(train, test, tmp_path, reads=("text", "text_pair")):
    return seen_rows(GivenRows({"train": train, "test": test}), "test", reads, Cache(tmp_path))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("A fine film", 1), ("a  FINE\tfilm\n", 1), ("A fine films", 0), ("A fine", 0), ("很好的酒店", 1), ("很好", 0),
        ("", 0), (" \n", 0), ("long " * 4000, 1), ("long " * 4001, 0),
    ],
)  # fmt: skip
def test_the_same_text_counts_but_for_case_and_blanks(text, seen, tmp_path):
    train = [{"text": one, "label": "a"} for one in TRAIN]
    assert count(train, [{"text": text, "label": "b"}, {"text": "of its own", "label": "a"}], tmp_path) == seen


def test_pairs_count_by_both_texts_and_translations_by_their_source(tmp_path):
    pairs = [{"text": "one", "text_pair": "two"}, {"text": "three", "text_pair": "four"}]
    assert count(pairs, [{"text": "one", "text_pair": "four"}], tmp_path) == 0
    assert count(pairs, [{"text": "three", "text_pair": "Four"}] * 2, tmp_path) == 2
    sides = [{"source": "one", "target": "eins"}]
    assert count(sides, [{"source": "one", "target": "zwei"}], tmp_path, ("source",)) == 1
    assert count(sides, [{"source": "one", "target": "zwei"}], tmp_path, ("text",)) == 0  # a language model reads both


def test_a_streamed_source_is_not_read_for_it(tmp_path):
    source = GivenRows({"train": [{"text": "a"}], "test": [{"text": "a"}]})
    source.streaming = True
    assert seen_rows(source, "test", ("text",), Cache(tmp_path)) == 0


@pytest.mark.parametrize(("copies", "level"), [(0, None), (1, logging.INFO), (2, logging.WARNING)])
def test_data_tells_it_and_warns_from_one_in_a_hundred_on(copies, level, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    rows = [{"text": f"text {number}", "label": "ab"[number % 2]} for number in range(250)]
    test = [
        {**row, "text": row["text"] + ("" if number < copies else " anew")} for number, row in enumerate(rows[:150])
    ]
    source = GivenRows({"train": rows, "test": test})
    data = TextData(source, LabelledText, TokenizerSpec("char", 100), Bucketed(32), str(tmp_path), seed=1)
    data.prepare()
    assert data.report["test"]["seen_rows"] == copies and "seen_rows" not in data.report["train"]
    told = [
        (record.levelno, record.getMessage()) for record in caplog.records if "also stand in train" in record.message
    ]
    share = f"{100 * copies / 150:.1f}"
    assert told == ([(level, f"test: {copies} of 150 rows also stand in train ({share} %)")] if copies else [])
