"""Names of Python tagged in its own documentation."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict

import pytest

from groundup.data.sources.library import Docstring
from groundup.data.sources.python_docs_entities import count_names, kinds_of, make, tagged_sentences
from groundup.data.sources.source import SPLITS

SOURCE = """
LIMIT_MAX = 3
class Broken(ValueError): pass
class Reader:
    MODE_RAW = 1
    def read_all(self): ...
if True:
    def fold(x): ...
"""


@pytest.fixture(scope="module")
def names() -> dict[str, str]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    count_names(found, "rows.text", ast.parse(SOURCE))
    return kinds_of(found)


def test_names_are_what_sources_and_builtins_define(names):
    expected = {"rows.text": "module", "Broken": "exception", "Reader": "class", "Reader.read_all": "function"}
    expected |= {"read_all": "function", "fold": "function", "LIMIT_MAX": "constant", "rows.text.Reader": "class"}
    expected |= {"list": "class", "KeyError": "exception", "open": "function", "Reader.MODE_RAW": "constant"}
    assert expected.items() <= names.items()


@pytest.mark.parametrize(
    ("sentence", "entities"),
    [
        ("It gives a list of all open rows.", {}),  # English words
        ("It gives a `list` of open() calls.", {"list": "class", "open": "function"}),
        ("Call the open function or a KeyError follows.", {"open": "function", "KeyError": "exception"}),
        ("Set LIMIT_MAX or Reader.MODE_RAW before it.", {"LIMIT_MAX": "constant", "Reader . MODE_RAW": "constant"}),
        ("The rows.text module has read_all in it.", {"rows . text": "module", "read_all": "function"}),
        ("The Reader object reads it all.", {"Reader": "class"}),
        ("The Reader never fold what strange_name gives.", {}),
    ],
)
def test_a_name_counts_where_it_is_written_as_one(names, sentence, entities):
    ((words, tags),) = tagged_sentences(sentence, names)
    found, kinds = [], []
    for word, tag in zip(words, tags, strict=True):
        if tag[0] == "B":
            found.append([word])
            kinds.append(tag[2:])
        elif tag[0] == "I":
            found[-1].append(word)
    assert dict(zip(map(" ".join, found), kinds)) == entities


@pytest.mark.parametrize(
    "text",
    ["too short.", "No end here but some words", ">>> fold(1) is code, and no text.", "lower case is a rest of it."],
)
def test_what_is_no_sentence_is_left_out(text, names):
    assert list(tagged_sentences(text, names)) == []


def test_no_sentence_stands_twice_and_modules_are_apart(names):
    docs = [
        Docstring(
            f"{m}.m{i}",
            "f",
            "def f()",
            f"The open function does {' '.join(str(i * k) for k in (7, 11, 13, 17, 19))} of {m}.\n\nIt may raise a KeyError here.",
        )
        for m in ("json", "threading")
        for i in range(40)
    ]
    rows = make(docs, names)
    split_of: dict[str, str] = {}
    sentences = Counter()
    for split in SPLITS:
        for row in rows[split]:
            assert split_of.setdefault(row["module"], split) == split
            sentences[" ".join(row["tokens"])] += 1
    assert max(sentences.values()) == 1 and all(rows.values())
    assert rows == make(docs, names)
