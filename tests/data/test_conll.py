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
    text = "-DOCSTART- O\n\n# a comment of five\nNew NNP B-LOC\nYork NNP I-LOC\n\n\n#\tSYM\tO\n\n# id = 2\n# SYM O\n1 CD O\n"
    file.write_text(text, "utf-8")
    assert rows(file) == [(["New", "York"], ["B-LOC", "I-LOC"]), (["#"], ["O"]), (["#", "1"], ["O", "O"])]
    assert [where.rpartition(" ")[2] for where, _ in read(file, Reading())] == ["4", "8", "11"]


@pytest.mark.parametrize("columns", [2, 3, 4])
@pytest.mark.parametrize("mark", [" ", "\t", "  "])
def test_a_word_of_one_sign_is_no_comment_wherever_it_stands(columns, mark, tmp_path):
    sentences = [["#", "1"], ["a", "#"], ["#"], ["#", "#", "b"]]
    lines = ["".join(mark.join([word, *"xyO"[4 - columns :]]) + "\n" for word in words) for words in sentences]
    comments = ["# it begins with five words\n", "# more than the words have columns\n# a = b\n", "", "# id = 3\n"]
    file = tmp_path / "a.conll"
    file.write_text("\n".join(map("".join, zip(comments, lines))), "utf-8")
    assert [words for words, _ in rows(file)] == sentences
    assert {tag for _, tags in rows(file) for tag in tags} == {"O"}


def test_a_column_of_words_has_no_tags(tmp_path):
    file = tmp_path / "a.conll"
    file.write_text("# all words\n\nNew\nYork\n#\n\n#hash\n", "utf-8")
    assert [row for _, row in read(file, Reading())] == [{"tokens": ["New", "York", "#"]}, {"tokens": ["#hash"]}]
    file.write_text("New\nYork I-LOC\n")
    with pytest.raises(UserError, match=r"a.conll line 2: 'York I-LOC' has 2 columns.*write a tag behind each word"):
        list(read(file, Reading()))
    (tmp_path / "b.conllu").write_text("#no blank\n" + CONLLU)
    assert len(rows(tmp_path / "b.conllu")) == 2


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
    (tmp_path / name).write_text(f"word\tO\n{line}\n" if name == "a.conll" else f"# begin\n{line}\n")
    with pytest.raises(UserError, match=message):
        rows(tmp_path / name)
