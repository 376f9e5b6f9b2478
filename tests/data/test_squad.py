"""SQuAD's own JSON, and answers in the forms that files have them."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc

import pytest

from groundup.data.reading import Reading, read
from groundup.data.sources.files import Files
from groundup.errors import UserError
from groundup.text.clean import Clean

ASKED = {"id": "q1", "question": "Who?", "answers": [{"text": "Ann", "answer_start": 0}]}
IMPOSSIBLE = {"id": "q2", "question": "Why?", "answers": [], "is_impossible": True}
IMPOSSIBLE["plausible_answers"] = [{"text": "sat", "answer_start": 4}]
PARAGRAPH = {"context": "Ann sat.", "qas": [ASKED, IMPOSSIBLE]}
FILE = {"version": "v2.0", "data": [{"title": 'A \\ "b" {', "paragraphs": [PARAGRAPH]}] * 2}
COLUMNS = {"question": "question", "context": "context", "answers": "answers"}


def message(path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        list(Files(train=str(path), **COLUMNS).rows("train"))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("block", [1, 7, 1 << 18])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_questions_in_order_whatever_is_read_at_a_time(packed, indent, block, tmp_path, monkeypatch):
    monkeypatch.setattr("groundup.data.formats.squad._BLOCK", block)
    path = tmp_path / ("a.json.gz" if packed else "a.json")
    content = {"extra": {"data": [1.5, "]}"]}, **FILE, "after": -12}
    with gzip.open(path, "wt") if packed else open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=indent)
    rows = list(Files(train=str(path), id="id", **COLUMNS).rows("train"))
    expected = {"question": "Who?", "context": "Ann sat.", "answers": ASKED["answers"], "id": "q1"}
    assert rows == [expected, {**expected, "question": "Why?", "answers": [], "id": "q2"}] * 2
    assert next(iter(read(path, Reading())))[0] == f"{path} article 1, question q1"


def test_only_an_article_at_a_time_is_in_memory(tmp_path):
    article = {"title": "x", "paragraphs": [{"context": "word " * 2000, "qas": [ASKED]}] * 20}
    with open(tmp_path / "a.json", "w") as file:
        file.write('{"data": [' + ",".join([json.dumps(article)] * 60) + "]}")  # 12 MB
    tracemalloc.start()
    assert sum(1 for _ in read(tmp_path / "a.json", Reading())) == 1200
    assert tracemalloc.get_traced_memory()[1] < 6e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1]", "a.json: not SQuAD's JSON, .*: it is no JSON object. Other data: .*call it .jsonl"),
        ('{"rows": []}', 'it has no list "data"'),
        ('{"data": [3]}', '"data" holds something else than objects'),
        ('{"data": [{"title": "x"}]}', 'a.json article 1: not .*it has no list "paragraphs"'),
        ('{"data": [{"paragraphs": [{"qas": []}]}]}', "article 1: .*a paragraph has no context"),
        ('{"data": [{"paragraphs": []},\n nul]}', r"a.json line 2: broken JSON \(expecting value\)"),
        ('{"data": [{"paragraphs": []}', r"line 1: broken JSON"),
        ('{"data": [' + "[" * 100_000, "nested too deeply|broken JSON"),
        ('{"data": [' + "1" * 5000 + "]}", "a number with more digits than Python reads"),
        (json.dumps({**FILE, "data": [{"paragraphs": [{"context": "Bob", "qas": [ASKED]}]}]}),
         "a.json article 1, question q1: the answer 'Ann' is not at character 0 .* where 'Bob' stands; it is nowhere"),
    ],
)  # fmt: skip
def test_what_is_not_squads_is_said_in_one_line(text, said, tmp_path):
    assert re.search(said, message(tmp_path / "a.json", text))


def written(path, answers) -> Files:
    path.write_text(json.dumps({"question": "Who?", "context": "Ann sat.", "answers": answers}) + "\n")
    return Files(train=str(path), **COLUMNS)


def test_answers_come_in_two_forms(tmp_path):
    own = [{"text": "Ann", "answer_start": 0}, {"text": "sat", "answer_start": 4}]
    for form in (own, {"text": ["Ann", "sat"], "answer_start": [0, 4.0]}):
        assert written(tmp_path / "a.jsonl", form).rows("train")[0]["answers"] == own
    for none in (None, [], {"text": [], "answer_start": []}):
        assert written(tmp_path / "a.jsonl", none).rows("train")[0]["answers"] == []


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"text": ["Ann"], "answer_start": [0, 4]}, "line 1: column 'answers' .*has 1 text, but 2 answer_start"),
        ("Ann", r"holds a text; write answers with their places in the context, as in \{\"text\""),
        (["Ann"], "holds a list of texts"),
        ([{"text": "Ann", "answer_start": "0"}], "without a whole number as answer_start"),
    ],
)
def test_answers_of_another_form_are_named_by_file_and_row(answers, said, tmp_path):
    with pytest.raises(UserError, match=said):
        written(tmp_path / "a.jsonl", answers).rows("train")


def test_cleaning_that_moves_answers_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"data.clean.lowercase changes the context.* Try tokenizer.lowercase=true"):
        Files(train="a.jsonl", clean=Clean(lowercase=True), **COLUMNS)


def test_questions_of_a_context_are_held_out_together(tmp_path):
    rows = [{"question": f"q{n}", "context": f"c{n % 40}", "answers": []} for n in range(200)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = Files(train=str(tmp_path / "a.jsonl"), validation_share=0.2, **COLUMNS)
    train, held = ({row["context"] for row in data.rows(split)} for split in ("train", "validation"))
    assert train and held and not train & held
