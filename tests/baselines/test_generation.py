from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from groundup.baselines.generation import (
    COPY,
    LEAD,
    RANDOM,
    lead_sentence,
    random_words,
    summarization_baselines,
    translation_baselines,
)

SHARED = Path("../shared/data")
MAILS = [
    {"source": "The gas report is late. Please call me.", "target": "gas report"},
    {"source": "Lunch on Friday? Say yes.", "target": "lunch on friday", "references": ["friday", "say yes"]},
    {"source": "", "target": "nothing"},
]


def test_the_source_is_taken_for_its_translation():
    rows = [{"source": "Berlin 2026!", "target": "Berlin 2026!"}, {"source": "a dog", "target": "ein Hund"}]
    found = translation_baselines(iter(rows), "test")
    assert list(found) == [COPY]
    assert found[COPY]["test/exact_match"].value == 0.5
    assert found[COPY]["test/copy_rate"].value == 1
    assert 0 < found[COPY]["test/chrf"].value < 100
    assert "tok:13a" in found[COPY]["test/bleu"].signature


def test_summaries_by_the_lead_sentence_and_by_random_words():
    found = summarization_baselines(iter(MAILS), "validation")
    assert list(found) == [LEAD, RANDOM]
    lead = found[LEAD]["validation/rouge_1"]
    assert lead.value == pytest.approx((4 / 7 + 1 + 0) / 3)  # the second mail's first reference
    assert lead.n == 3
    assert found[RANDOM]["validation/copy_rate"].value == 1


def test_the_draw_follows_the_seed_and_no_neighbour():
    once, again, other = (summarization_baselines(MAILS, "test", seed=seed)[RANDOM] for seed in (3, 3, 4))
    assert once == again
    assert once != other
    assert random_words("a b c d e f g h", 4, 0, 1) == random_words("a b c d e f g h", 4, 0, 1)
    assert random_words("a b c d e f g h", 4, 0, 1) != random_words("a b c d e f g h", 4, 0, 2)


def test_random_words_are_different_places_of_the_source():
    words = random_words("a b c d e", 3, 0).split()
    assert len(words) == len(set(words)) == 3
    assert sorted(random_words("a b c", 9, 0).split()) == ["a", "b", "c"]
    assert sorted(random_words("今天 a", 9, 0)) == sorted("今 天 a")
    assert random_words("", 3, 0) == ""


@pytest.mark.parametrize(
    ("text", "lead"),
    [
        ("One here. Two there.", "One here."),
        ("Version 3.5 is out! Get it", "Version 3.5 is out!"),
        ('He said "go." Then he went.', 'He said "go."'),
        ("A headline\n\nAnd a paragraph.", "A headline"),
        ("今天很好。明天也好。", "今天很好。"),
        ("他说：“好。”然后走了。", "他说：“好。”"),
        ("  no end mark ", "no end mark"),
        ("", ""),
    ],
)
def test_the_lead_is_the_first_sentence(text, lead):
    assert lead_sentence(text) == lead


def test_figures_on_real_data_stay():
    if not (SHARED / "aeslc").is_dir():
        pytest.skip(f"needs {SHARED / 'aeslc'}")
    with gzip.open(SHARED / "aeslc" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rows = [{"source": row["document"], "target": row["summary"]} for row in rows]
    found = summarization_baselines(rows, "test")
    assert found[LEAD]["test/rouge_1"].value == pytest.approx(0.1421, abs=5e-5)
    assert found[RANDOM]["test/rouge_1"].value == pytest.approx(0.0478, abs=5e-5)
