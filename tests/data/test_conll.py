"""Sentences of CoNLL and CoNLL-U files."""

from __future__ import annotations

import gzip

import pytest

from groundup.data.reading import Reading, read
from groundup.errors import UserError

CONLLU = """# sent_id = 1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tvamos\tir\tVERB\t_\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\t_\t_\t1\tobj\t_\t_
2.1\tnada\t_\tX\t_\t_\t_\t_\t_\t_
3\t海\t_\tNOUN\t_\t_\t1\tobl\t_\t_

1\t#\t#\tSYM\t_\t_\t0\troot\t_\t_
"""


def rows(path) -> list[tuple[list[str], list[str]]]:
    return [(row["tokens"], row["tags"]) for _, row in read(path, Reading())]


def test_sentences_of_conll(tmp_path):
    file = tmp_path / "a.conll"
    file.write_text("-DOCSTART- O\n\n# a comment\nNew NNP B-LOC\nYork NNP I-LOC\n\n\n#\tSYM\tO\n", "utf-8")
    assert rows(file) == [(["New", "York"], ["B-LOC", "I-LOC"]), (["#"], ["O"])]
    assert [where.rpartition(" ")[2] for where, _ in read(file, Reading())] == ["4", "8"]


@pytest.mark.parametrize("packed", [True, False])
def test_words_of_universal_dependencies(packed, tmp_path):
    file = tmp_path / ("a.conllu.gz" if packed else "a.conllu")
    with gzip.open(file, "wt") if packed else open(file, "w", encoding="utf-8") as out:
        out.write(CONLLU)
    assert rows(file) == [(["vamos", "nos", "海"], ["VERB", "PRON", "NOUN"]), (["#"], ["SYM"])]


@pytest.mark.parametrize(
    ("name", "line", "message"),
    [
        ("a.conll", "alone", "line 2: 'alone' has no tag"),
        ("a.conll", "word\tO\t", "line 2: 'word.*' has no tag"),
        ("a.conll", "\tO", "line 2: .* has no tag"),
        ("a.conllu", "1\tx\tNOUN", "line 2: 3 columns.*call the file .conll"),
    ],
)
def test_a_line_that_is_no_word_is_named(name, line, message, tmp_path):
    (tmp_path / name).write_text(f"# begin\n{line}\n")
    with pytest.raises(UserError, match=message):
        rows(tmp_path / name)
