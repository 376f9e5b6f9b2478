"""ROUGE against its definition by brute force, and against cases worked out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from timing import processor_seconds

from groundup.metrics.overlap import common_subsequence, rouge, rouge_scores, tokens


def f1(common, left, right):
    if not common:
        return 0.0
    precision, recall = common / left, common / right
    return 2 * precision * recall / (precision + recall)


def longest_by_table(a, b):
    table = np.zeros((len(a) + 1, len(b) + 1), dtype=int)
    for i, j in itertools.product(range(len(a)), range(len(b))):
        table[i + 1, j + 1] = table[i, j] + 1 if a[i] == b[j] else max(table[i, j + 1], table[i + 1, j])
    return int(table[-1, -1])


def longest_by_trying(a, b):
    for length in range(len(a), 0, -1):
        for places in itertools.combinations(range(len(a)), length):
            rest = iter(b)
            if all(a[place] in rest for place in places):
                return length
    return 0


def overlap_by_striking_out(a, b, n):
    runs = [tuple(b[i : i + n]) for i in range(len(b) - n + 1)]
    common = 0
    for i in range(len(a) - n + 1):
        if tuple(a[i : i + n]) in runs:
            runs.remove(tuple(a[i : i + n]))
            common += 1
    return f1(common, len(a) - n + 1, len(b) - n + 1)


@pytest.mark.parametrize("letters", [2, 4, 30])
def test_longest_common_subsequence(letters):
    rng = np.random.default_rng(letters)
    for _ in range(60):
        a, b = (list(map(str, rng.integers(0, letters, rng.integers(0, 9)))) for _ in range(2))
        assert common_subsequence(a, b) == longest_by_trying(a, b) == longest_by_table(a, b)
    a, b = (list(map(str, rng.integers(0, letters, 200))) for _ in range(2))  # longer than a machine word
    assert common_subsequence(a, b) == longest_by_table(a, b)


def test_scores_equal_their_definition():
    rng = np.random.default_rng(0)
    for _ in range(80):
        a, b = (list(rng.choice(list("abcde"), rng.integers(0, 12))) for _ in range(2))
        found = rouge_scores([" ".join(a)], [[" ".join(b)]])
        assert found["rouge_1"][0] == pytest.approx(overlap_by_striking_out(a, b, 1))
        assert found["rouge_2"][0] == pytest.approx(overlap_by_striking_out(a, b, 2))
        assert found["rouge_l"][0] == pytest.approx(f1(longest_by_table(a, b), len(a), len(b)))


@pytest.mark.parametrize(
    ("hypothesis", "reference", "expected"),
    [
        ("police killed the gunman", "police kill the gunman", (3 / 4, 1 / 3, 3 / 4)),  # Lin 2004, section 3
        ("the gunman kill police", "police kill the gunman", (1, 1 / 3, 2 / 4)),
        ("The Cat-sat, on_the MAT!", "the cat sat on the mat", (1, 1, 1)),
        ("a a a a", "a", (2 / 5, 0, 2 / 5)),  # a repeated word counts as often as the reference has it
        ("我爱北京", "我很爱北京", (8 / 9, 4 / 7, 8 / 9)),
        ("我用 Python 写作", "我用python写", (8 / 9, 6 / 7, 8 / 9)),  # five tokens and four
        ("", "a", (0, 0, 0)),
        ("", "", (0, 0, 0)),
        ("...", "a", (0, 0, 0)),
    ],
)
def test_cases_by_hand(hypothesis, reference, expected):
    found = rouge_scores([hypothesis], [[reference]])
    assert [found[name][0] for name in ("rouge_1", "rouge_2", "rouge_l")] == pytest.approx(list(expected))


def test_the_best_reference_counts_for_each_score():
    references = ["c b a", "a b x x x x"]
    found = rouge_scores(["a b c"], [references])
    apart = [rouge_scores(["a b c"], [[one]]) for one in references]
    for name, value in found.items():
        assert value[0] == max(each[name][0] for each in apart)
    assert found["rouge_1"][0] == 1
    assert 0 < found["rouge_2"][0] < 1


def test_the_estimate_is_the_mean_over_rows_with_an_interval():
    rng = np.random.default_rng(0)
    hypotheses = [" ".join(rng.choice(list("abcdef"), 8)) for _ in range(100)]
    references = [[" ".join(rng.choice(list("abcdef"), 8))] for _ in range(100)]
    scores = rouge_scores(hypotheses, references)["rouge_l"]
    found = rouge(hypotheses, references)["rouge_l"]
    half = 1.96 * scores.std() / 10
    assert found.value == pytest.approx(scores.mean())
    assert (found.low, found.high) == pytest.approx((scores.mean() - half, scores.mean() + half), abs=half / 5)
    assert found.n == 100
    assert rouge(hypotheses, references, resamples=0)["rouge_l"].low is None


@pytest.mark.parametrize("case", [([], []), (["a"], [[]]), (["a"], [])])
def test_rows_that_do_not_fit_raise(case):
    with pytest.raises(ValueError, match="references"):
        rouge(*case)


def test_long_summaries_are_fast():
    rng = np.random.default_rng(0)
    texts = [" ".join(map(str, rng.integers(0, 3000, 100))) for _ in range(2000)]
    assert processor_seconds(lambda: rouge(texts, [[text] for text in reversed(texts)]), enough=5) < 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop_now: 3.5 %", ["don", "t", "stop", "now", "3", "5"]),
        ("Straße Ünïcode\u0301 cafe\u0301", ["straße", "ünïcodé", "café"]),
        ("2026年3月4日", ["2026", "年", "3", "月", "4", "日"]),
        ("ひらカタ漢字Ａ", ["ひ", "ら", "カ", "タ", "漢", "字", "ａ"]),
        ("한국어", ["한", "국", "어"]),
        ("𠀀b。，", ["𠀀", "b"]),
        (" \n", []),
    ],
)
def test_tokens_of_any_script(text, expected):
    assert tokens(text) == expected
