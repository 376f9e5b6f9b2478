"""Answers are counted as SQuAD's own scripts count them; those definitions are written down here again, word by word."""

from __future__ import annotations

import random
import re
import string

import numpy as np
import pytest

from groundup.metrics.question_answering import (
    answer_scores,
    best_threshold,
    chinese_f1,
    question_answering_metrics,
    segments,
)
from groundup.metrics.question_sections import answer_length, question_sections, question_word

PIECES = ["the", "A", "an", "Paris", "paris.", "1,000", "co-op", "it's", "–", "!", "  ", "Athens", "the-end", "é", "海"]


def expected_form(text: str) -> list[str]:
    kept = [character for character in text.lower() if character not in set(string.punctuation)]
    return [word for word in re.split(r"\s+", re.sub(r"\b(a|an|the)\b", " ", "".join(kept))) if word]


def expected_f1(said: str, right: str, second: bool) -> float:
    ours, theirs = expected_form(said), expected_form(right)
    if second and (not ours or not theirs):
        return float(ours == theirs)
    rest, same = list(theirs), 0
    for word in ours:
        if word in rest:
            rest.remove(word)
            same += 1
    if same == 0:
        return 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("seed", range(100))
def test_scores_equal_the_definition_of_squad(seed, second):
    draw = random.Random(seed)
    texts = lambda: " ".join(draw.choices(PIECES, k=draw.randint(1, 5))) + "."  # noqa: E731
    said = [draw.choice([texts(), "", "Paris"]) for _ in range(5)]
    right = [[texts() for _ in range(draw.randint(1, 3))] for _ in said]
    if second:
        right[draw.randrange(5)] = []
    exact, f1 = answer_scores(said, right)
    for row, (text, answers) in enumerate(zip(said, right)):
        gold = ([one for one in answers if expected_form(one)] or [""]) if second else answers
        assert exact[row] == max(expected_form(text) == expected_form(one) for one in gold)
        assert f1[row] == pytest.approx(max(expected_f1(text, one, second) for one in gold))


def test_chinese_answers_are_compared_by_characters():
    exact, f1 = answer_scores(["北京大学。", "上海", "BERT模型"], [["北京大学"], ["在上海市"], ["bert 模型"]])
    assert exact.tolist() == [1, 0, 1] and f1 == pytest.approx([1, 2 / 3, 1])
    assert segments("用BERT-base，3天") == ["用", "bert", "base", "3", "天"]
    draw = random.Random(0)
    for _ in range(50):
        one, other = ("".join(draw.choices("海边鋸", k=draw.randint(1, 7))) for _ in range(2))
        runs = [one[i:j] for i in range(len(one)) for j in range(i + 1, len(one) + 1) if one[i:j] in other]
        longest = max(map(len, runs), default=0)
        assert chinese_f1(one, other) == pytest.approx(2 * longest / (len(one) + len(other)))


def test_the_threshold_is_the_best_of_all():
    draw = np.random.default_rng(0)
    for _ in range(200):
        N = int(draw.integers(1, 9))
        scores, f1 = draw.integers(-3, 3, N).astype(float), draw.random(N).round(1)
        answerable = draw.random(N) < 0.5
        f1 = f1 * answerable
        by_threshold = [np.where(scores >= threshold, f1, ~answerable).mean() for threshold in np.arange(-9, 9, 0.5)]
        chosen = np.where(scores >= best_threshold(scores, f1, answerable), f1, ~answerable).mean()
        assert chosen == pytest.approx(max(by_threshold))


def test_figures_have_intervals_and_tell_the_unanswerable_apart():
    scores = answer_scores(["a b", "", "c"] * 20, [["b"], [], []] * 20)
    found = question_answering_metrics(scores, np.array([True, False, False] * 20))
    assert all(one.low <= one.value <= one.high for one in found.values())
    few = question_answering_metrics(answer_scores(["a"] * 6, [["a"]] * 6), np.ones(6, dtype=bool))
    assert few["exact_match"].low < 0.7 < few["exact_match"].high == 1, "six right answers do not prove that all are"
    values = {name: (one.value, one.n) for name, one in found.items()}
    assert values["has_answer_f1"] == (1.0, 20) and values["no_answer_accuracy"] == (pytest.approx(0.5), 40)
    assert values["f1"] == (pytest.approx(2 / 3), 60)
    assert question_answering_metrics(scores, np.ones(60, dtype=bool), resamples=0).keys() == {"f1", "exact_match"}


def test_the_report_marks_answers_in_their_contexts_and_counts_by_kind():
    row = {"question": "How many gulls?", "context": "x" * 99 + " 27 gulls", "windows": 2, "probability": 0.5}
    row |= {"answers": [{"text": "27", "answer_start": 100}], "answer": "x", "start": 0, "end": 1}
    wrong = {**row, "f1": 0.0, "exact_match": 0.0}
    right = {**row, "answer": "27", "start": 100, "end": 102, "f1": 1.0, "exact_match": 1.0}
    answers, kinds = question_sections([wrong, right, {**wrong, "answers": []}])
    assert answers.parts[1].rows[0][1].text.endswith("x «27» gulls") and answers.parts[0].title == "Wrong"
    assert kinds.parts[0].rows == [["how many", "0.333", "0.333", "3"]]
    assert question_word(row) == "how many" and question_word({"question": "Name it"}) == "other"
    assert question_word({"question": "他是谁？"}) == "谁"
    assert answer_length(row) == "1 word" and answer_length({"answers": []}) == "no answer"
    assert question_sections([]) == []
