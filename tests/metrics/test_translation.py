"""BLEU and chrF are sacreBLEU's to the last digit, and their intervals those of drawing rows one by one."""

from __future__ import annotations

import numpy as np
import pytest
from sacrebleu.metrics import BLEU, CHRF
from timing import processor_seconds

from groundup.errors import UserError
from groundup.metrics.overlap import _bleu_of, _chrf_of, _statistics, bleu, chrf, sentence_chrf

WORDS = "the a small dog cat runs sat on over under green hill house , . ! 12 3.5 don't well-known Köln".split()
CHARACTERS = "今天明我你他们去看书很好的一是不在学校，。！"


def corpus(rows: int, seed: int = 0, chinese: bool = False, most: int = 12):
    """Hypotheses that share something with one to three references; some are empty."""
    rng = np.random.default_rng(seed)
    units, glue = (list(CHARACTERS), "") if chinese else (WORDS, " ")
    hypotheses, references = [], []
    for _ in range(rows):
        words = list(rng.choice(units, rng.integers(1, most)))
        mine = [word if rng.random() < 0.7 else rng.choice(units) for word in words if rng.random() < 0.9]
        mine += list(rng.choice(units, rng.integers(0, 5)))  # some are longer than their references
        others = [list(rng.permutation(words)) for _ in range(rng.integers(0, 3))]
        hypotheses.append(glue.join(mine))
        references.append([glue.join(each) for each in [words, *others]])
    return hypotheses, references


def streams(references):
    """As sacreBLEU wants them: the i-th references of all rows, None where a row has fewer."""
    most = max(map(len, references))
    return [[row[i] if i < len(row) else None for row in references] for i in range(most)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("chinese", [False, True])
@pytest.mark.parametrize(("rows", "most"), [(1, 3), (4, 6), (60, 12)])
def test_values_are_sacrebleus(seed, chinese, rows, most):
    hypotheses, references = corpus(rows, seed, chinese, most)
    tokenize = "zh" if chinese else "13a"
    ours = bleu(hypotheses, references, tokenize, resamples=0)
    theirs = BLEU(tokenize=tokenize)
    assert ours.value == theirs.corpus_score(hypotheses, streams(references)).score
    assert ours.signature == str(theirs.get_signature())
    ours, theirs = chrf(hypotheses, references, resamples=0), CHRF()
    assert ours.value == theirs.corpus_score(hypotheses, streams(references)).score
    assert ours.signature == str(theirs.get_signature())
    assert ours.n == rows


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("most", [3, 12])
def test_the_formula_that_is_resampled_is_sacrebleus(seed, most):
    hypotheses, references = corpus(30, seed, most=most)
    for metric, formula in ((BLEU(), _bleu_of), (CHRF(), _chrf_of)):
        rows = _statistics(metric, hypotheses, references)
        sums = np.stack([rows[start : start + n].sum(axis=0) for start in range(30) for n in (1, 3, 10)])
        expected = [metric._compute_score_from_stats(one.astype(int).tolist()).score for one in sums]
        assert formula(sums) == pytest.approx(expected, abs=1e-9)


def test_intervals_equal_those_of_drawing_rows_one_by_one():
    hypotheses, references = corpus(80)
    rng = np.random.default_rng(1)
    for function, metric in ((bleu, BLEU()), (chrf, CHRF())):
        drawn = []
        for _ in range(400):
            rows = rng.integers(0, 80, 80)
            picked = [references[i] for i in rows]
            drawn.append(metric.corpus_score([hypotheses[i] for i in rows], streams(picked)).score)
        low, high = np.percentile(drawn, (2.5, 97.5))
        found = function(hypotheses, references)
        assert (found.low, found.high) == pytest.approx((low, high), abs=(high - low) / 6)
        assert found.low < found.value < found.high
        assert found == function(hypotheses, references)
        assert found != function(hypotheses, references, seed=1)


def test_more_references_help_and_the_closest_length_counts():
    assert bleu(["the small dog runs"], [["a cat"]]).value == 0
    assert bleu(["the small dog runs"], [["a cat", "the small dog runs"]]).value == pytest.approx(100)
    assert chrf(["the small dog runs"], [["a cat", "the small dog runs"]]).value == pytest.approx(100)


def test_case_counts_and_texts_are_detokenized():
    assert bleu(["The dog runs home."], [["the dog runs home."]]).value < 100
    assert bleu(["The dog runs home."], [["The dog runs home."]]).value == pytest.approx(100)
    assert "case:mixed" in bleu(["a"], [["a"]]).signature


@pytest.mark.parametrize("wrong", ["13a", "char", "intl", "none", "ja-mecab"])
def test_another_tokenizer_is_refused_for_chinese(wrong):
    with pytest.raises(UserError, match=rf"tokenizer {wrong} .* Try tokenize=zh$"):
        bleu(["我在学校看书。"], [["我在学校看书。", "I read at school"]], tokenize=wrong)
    assert "tok:zh" in bleu(["hello"], [["我在 Python 学校看书。"]], tokenize="zh").signature


@pytest.mark.parametrize(
    ("text", "tokenizer"),
    [
        ("我在学校看书", "zh"),
        ("学校で本を読みます", "char"),
        ("학교에서 책을 읽어요", "char"),
        ("Ich lese 书", "13a"),
        ("", "13a"),
    ],
)
def test_the_tokenizer_follows_the_script_of_the_references(text, tokenizer):
    assert f"tok:{tokenizer}|" in bleu(["x"], [[text]]).signature


def test_a_tokenizer_that_does_not_exist_is_named():
    with pytest.raises(UserError, match=r"no tokenizer 14a, but .*13a"):
        bleu(["a"], [["a"]], tokenize="14a")


@pytest.mark.parametrize("case", [([], []), (["a"], []), (["a"], [[]]), (["a", "b"], [["a"]])])
def test_rows_that_do_not_fit_raise(case):
    for function in (bleu, chrf):
        with pytest.raises(ValueError, match="reference"):
            function(*case)


def test_nothing_written_scores_nothing():
    for function in (bleu, chrf):
        found = function(["", ""], [["a dog"], [""]])
        assert (found.value, found.low, found.high) == (0, 0, 0)


def test_rows_are_ranked_as_sacrebleu_scores_sentences():
    hypotheses, references = corpus(40)
    expected = [CHRF().sentence_score(h, r).score for h, r in zip(hypotheses, references, strict=True)]
    assert sentence_chrf(hypotheses, references) == pytest.approx(expected)


def test_seven_thousand_rows_take_seconds():
    hypotheses, references = corpus(7000)
    assert processor_seconds(lambda: (bleu(hypotheses, references), chrf(hypotheses, references)), enough=12) < 12
