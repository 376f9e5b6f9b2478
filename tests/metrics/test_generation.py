"""Figures about written text, on cases that can be counted by hand."""

from __future__ import annotations

import math

import pytest

from groundup.metrics.generation import (
    exact_match,
    references_of,
    summarization_metrics,
    text_statistics,
    translation_metrics,
)
from groundup.metrics.overlap import bleu, chrf, rouge, script

HYPOTHESES = ["the dog runs", "A cat!", ""]
SOURCES = ["der Hund the the", "cat cat", "leer"]
REFERENCES = [["the dog runs"], ["a cat sat", "a cat"], ["nothing"]]
ABOUT = ["length_ratio", "copy_rate", "repetition_rate", "distinct_1", "distinct_2"]


def test_one_function_gives_all_metrics_of_a_task():
    found = translation_metrics(HYPOTHESES, SOURCES, REFERENCES)
    assert list(found) == ["bleu", "chrf", "exact_match", *ABOUT]
    assert found["bleu"] == bleu(HYPOTHESES, REFERENCES)
    assert found["chrf"] == chrf(HYPOTHESES, REFERENCES)
    found = summarization_metrics(HYPOTHESES, SOURCES, REFERENCES)
    assert list(found) == ["rouge_1", "rouge_2", "rouge_l", *ABOUT]
    assert found["rouge_2"] == rouge(HYPOTHESES, REFERENCES)["rouge_2"]


def test_text_is_counted_over_all_rows():
    found = {name: e.value for name, e in text_statistics(HYPOTHESES, SOURCES, REFERENCES).items()}
    assert found == {
        "length_ratio": 5 / (3 + 2.5 + 1),
        "copy_rate": 2 / 5,  # "the" once, though the source has it twice; "cat"
        "repetition_rate": 0.0,
        "distinct_1": 1.0,
        "distinct_2": 1.0,
    }


def test_a_copy_uses_each_token_of_the_source_once():
    copy_rate = text_statistics(["b a a a"], ["a b c a"], [["x"]])["copy_rate"]
    assert copy_rate.value == 3 / 4


def test_repetition_is_the_share_of_4_grams_said_before():
    loop = "a b c d " * 3  # nine 4-grams, four of them new
    assert text_statistics([loop], [""], [["x"]])["repetition_rate"].value == 5 / 9
    assert text_statistics(["a b c d e"], [""], [["x"]])["repetition_rate"].value == 0
    assert text_statistics([loop, "a b c d e"], ["", ""], [["x"]] * 2)["repetition_rate"].value == 5 / 11


def test_distinct_words_are_counted_over_the_whole_split():
    found = text_statistics(["a b a", "a b"], ["", ""], [["x"]] * 2)
    assert found["distinct_1"].value == 2 / 5
    assert found["distinct_2"].value == 2 / 3
    assert found["distinct_1"].low is None


def test_nothing_written_is_zero_of_everything():
    found = text_statistics(["", ""], ["a", "b"], [["x"], ["y"]])
    assert all(e.value == 0 for e in found.values())
    empty_reference = text_statistics(["a", ""], ["a", "b"], [[""], [""]])
    assert all(math.isfinite(e.value) for e in empty_reference.values())


def test_intervals_cover_the_value_and_can_be_left_out():
    texts = [f"{'a ' * (i % 7)}b c {i}" for i in range(50)]
    found = text_statistics(texts, texts[::-1], [[text] for text in texts[::-1]])
    for name in ("length_ratio", "copy_rate", "repetition_rate"):
        assert found[name].low <= found[name].value <= found[name].high
    assert found["length_ratio"].value == 1
    quick = translation_metrics(texts, texts, [[text] for text in texts], resamples=0)
    assert [name for name, e in quick.items() if e.low is not None] == ["exact_match"]  # by formula


@pytest.mark.parametrize(
    ("text", "references", "right"),
    [
        ("5:03 pm", ["5:03\u202fpm"], True),  # blanks of any kind
        (" a  b\n", ["a b"], True),
        ("a b", ["ab"], False),
        ("A", ["a"], False),
        ("b", ["a", "b"], True),
        ("", [""], True),
    ],
)
def test_exact_match(text, references, right):
    assert exact_match([text], [references]).value == right


def test_exact_match_has_wilsons_interval():
    found = exact_match(["a"] * 10, [["a"]] * 10)
    assert (found.value, found.high, found.n) == (1, 1, 10)
    assert found.low == pytest.approx(0.7225, abs=1e-4)


def test_the_target_is_the_first_reference():
    assert references_of({"target": "a"}) == ["a"]
    assert references_of({"target": "a", "references": ["b", "c"]}) == ["a", "b", "c"]
    assert references_of({"target": "a", "references": None}) == ["a"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The quick fox", "other"),
        ("", "other"),
        ("123 !?", "other"),
        ("我们用 Python", "zh"),
        ("Beijing (北京) is the capital of China", "other"),
        ("東京へ行きます", "ja"),
        ("日本国憲法第九条の解釈", "ja"),
        ("서울에 갑니다", "ko"),
        ("Привет, мир", "other"),
    ],
)
def test_script(text, expected):
    assert script([text]) == expected
    assert script([text] * 50) == expected
