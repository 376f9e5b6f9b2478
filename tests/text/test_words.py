"""Running text cut into words."""

from __future__ import annotations

import itertools
import random

import pytest
from timing import processor_seconds

from groundup.text.words import together, word_spans


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's John's car, isn't it? I don't.", "It 's John 's car , is n't it ? I do n't ."),
        ("see https://a.org/b?c=d, or @paul_w #tag", "see https://a.org/b?c=d , or @paul_w #tag"),
        ("3.14 of 1,000 at 12:30.", "3.14 of 1,000 at 12:30 ."),
        ("well-known (naïve) café…", "well - known ( naïve ) café …"),
        ("王小明在Python 3.11里。", "王 小 明 在 Python 3.11 里 。"),
        ("x_y ½\t👍\n", "x_y ½ 👍"),
        ("हिन्दी भाषा, #हिन्दी cafe\u0301 العَرَبِيَّة", "हिन्दी भाषा , #हिन्दी cafe\u0301 العَرَبِيَّة"),
        ("か\u3099き می\u200cخواهم ❤\ufe0f!", "か\u3099 き می\u200cخواهم ❤\ufe0f !"),
        ("👩\u200d👧ok (ιστορία)", "👩\u200d👧 ok ( ιστορία )"),
        (" \n", ""),
    ],
)
def test_words_and_marks(text, words):
    assert [text[begin:end] for begin, end in word_spans(text)] == words.split()


@pytest.mark.parametrize("seed", range(20))
def test_nothing_but_blanks_is_left_out_and_places_are_in_order(seed):
    draw = random.Random(seed)
    text = "".join(draw.choices("aB1'’ns t.,:-@#/\n海。é\u0301\u200b🏽" + "ι\u200d\u200c\u093f" * (seed % 2), k=200))
    spans = word_spans(text)
    assert all(begin < end for begin, end in spans)
    assert all(left <= right for (_, left), (right, _) in itertools.pairwise(spans))
    covered = {place for span in spans for place in range(*span)}
    assert all(character.isspace() for place, character in enumerate(text) if place not in covered)
    assert not any(character.isspace() for place, character in enumerate(text) if place in covered)


@pytest.mark.parametrize("part", ["a", "-", "'", "1.", "n't", "海", "न\u093f", "\u0301", "👩\u200d"])
def test_time_is_linear(part):
    assert processor_seconds(lambda: word_spans(part * 10**5), enough=2) < 2


def test_words_stand_together_as_they_are_written():
    assert together(["New", "York"]) == "New York" and together(["北", "京"]) == "北京"
    assert together(["北", "Python", "京", ""]) == "北 Python 京 " and together([]) == ""
