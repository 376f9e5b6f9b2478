from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from groundup.baselines.generation import CopySource, LeadSentence, RandomWords, lead_sentence, random_words

SHARED = Path("../shared/data")
MAILS = [
    {"source": "The gas report is late. Please call me.", "target": "gas report"},
    {"source": "Lunch on Friday? Say yes.", "target": "lunch on friday", "references": ["friday", "say yes"]},
    {"source": "", "target": "nothing"},
]


def test_the_source_is_taken_for_its_translation(reached):
    rows = [{"source": "Berlin 2026!", "target": "Berlin 2026!"}, {"source": "a dog", "target": "ein Hund"}]
    found = reached(CopySource(), [], rows)
    assert list(found) == ["copy of the source"]
    found = found["copy of the source"]
    assert found["test/exact_match"].value == 0.5
    assert found["test/copy_rate"].value == 1
    assert 0 < found["test/chrf"].value < 100
    assert "tok:13a" in found["test/bleu"].signature


def test_summaries_by_the_lead_sentence_and_by_random_words(reached):
    found = reached(LeadSentence(), [], MAILS)
    assert list(found) == ["random words", "lead sentence"]
    lead = found["lead sentence"]["test/rouge_1"]
    assert lead.value == pytest.approx((4 / 7 + 1 + 0) / 3)  # the second mail's first reference
    assert lead.n == 3
    assert found["random words"]["test/copy_rate"].value == 1


def test_what_was_written_is_told_and_shown(reached):
    told = reached(LeadSentence(), [], MAILS, alone=True).predictions
    assert [row["hypothesis"] for row in told] == ["The gas report is late.", "Lunch on Friday?", ""]
    (section,) = LeadSentence().sections(told, None, "test")
    assert section.title == "Summaries"


def test_the_draw_follows_the_seed_and_no_neighbour():
    once, again, other = (RandomWords(seed).write(MAILS) for seed in (3, 3, 4))
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


def test_figures_on_real_data_stay(reached):
    if not (SHARED / "aeslc").is_dir():
        pytest.skip(f"needs {SHARED / 'aeslc'}")
    with gzip.open(SHARED / "aeslc" / "test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rows = [{"source": row["document"], "target": row["summary"]} for row in rows]
    found = reached(LeadSentence(), [], rows)
    assert found["lead sentence"]["test/rouge_1"].value == pytest.approx(0.1421, abs=5e-5)
    assert found["random words"]["test/rouge_1"].value == pytest.approx(0.0478, abs=5e-5)
