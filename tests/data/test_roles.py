"""Every role can be named wherever data is named; tokens and tags are lists of one length."""

import inspect
import json

import pytest
import yaml

from groundup.data.roles import ROLES, columns_by_role
from groundup.data.sources.files import Files
from groundup.data.sources.labels import label_names
from groundup.data.sources.source import GivenRows
from groundup.errors import UserError
from groundup.text.clean import Clean

ROWS = [{"words": ["EU", "rejects"], "names": ["B-ORG", "O"]}, {"words": ["Wien"], "names": ["B-LOC"]}]


def write(path, rows):
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tagged(path, **options):
    return Files(train=str(path), **{"tokens": "words", "tags": "names", **options})


def message(call, *arguments, **options):
    with pytest.raises(UserError) as error:
        list(call(*arguments, **options))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_role_can_be_named_everywhere(repository):
    assert set(ROLES) <= set(inspect.signature(Files).parameters)
    for name in ("data/files", "data/_same_as_run"):
        assert set(ROLES) <= set(yaml.safe_load((repository / "conf" / f"{name}.yaml").read_text()))
    given = {role for role, about in ROLES.items() if about.given}
    assert given <= set(yaml.safe_load((repository / "conf" / "predict.yaml").read_text()))
    usual = [name for about in ROLES.values() for name in about.usual.split()]
    assert usual == [name.casefold() for name in usual]


def test_which_columns_are_read():
    assert columns_by_role({"text": None, "label": "stars"}) == {"text": "text", "label": "stars"}
    assert columns_by_role({"text": "text", "source": "en", "target": "zh"}) == {"source": "en", "target": "zh"}
    assert columns_by_role({"tokens": "words", "group": "kind"}) == {"tokens": "words", "group": "kind"}
    assert message(columns_by_role, {"tags": "names"}) == (
        "data.tags: no tokens beside it; add data.tokens=COLUMN, or leave it out"
    )


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
@pytest.mark.parametrize("streaming", [False, True])
def test_tokens_and_tags_are_lists(tmp_path, name, streaming):
    data = tagged(write(tmp_path / name, ROWS), streaming=streaming)
    assert list(data.rows("train")) == [{"tokens": row["words"], "tags": row["names"]} for row in ROWS]
    assert list(tagged(tmp_path / name, tags=None).rows("train")) == [{"tokens": row["words"]} for row in ROWS]


def test_tokens_are_cleaned_one_by_one_and_tags_are_names(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"words": ["The", "<b>EU</b>", 12], "names": ["O ", "B-ORG", 1.0]}])
    clean = Clean(html=True, lowercase=True, stop_words="en")
    assert list(tagged(path, clean=clean).rows("train")) == [{"tokens": ["", "eu", "12"], "tags": ["O", "B-ORG", "1"]}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_row_with_more_tokens_than_tags_is_refused_by_file_and_row(tmp_path, name):
    path = write(tmp_path / name, [*ROWS, {"words": ["one", "two"], "names": ["O"]}])
    where = "line" if name == "a.jsonl" else "row"
    assert message(tagged(path).rows, "train").startswith(f"{path} {where} 3: 2 tokens, but 1 tags")
    assert message(GivenRows, {"train": [{"tokens": ["a"], "tags": []}]}).startswith(
        "train row 1: 1 tokens, but 0 tags"
    )


def test_what_is_no_list_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("words,names\nEU rejects,B-ORG O\n")
    assert message(tagged(tmp_path / "a.csv").rows, "train") == (
        f"{tmp_path / 'a.csv'} line 2: column 'words' (data.tokens) holds one text, not a list. "
        'Give a .jsonl or .parquet with lists, as in {"words": ["a", "b"]}'
    )
    path = write(tmp_path / "a.jsonl", [{"words": None, "names": ["O"]}])
    assert "line 1: column 'words' (data.tokens) holds no value" in message(tagged(path).rows, "train")
    path = write(tmp_path / "b.jsonl", [{"words": ["a", "b"], "names": ["O", None]}])
    assert "line 1: no value at place 2 of column 'names' (data.tags)" in message(tagged(path).rows, "train")
    path = write(tmp_path / "c.jsonl", [{"words": [["a"]], "names": ["O"]}])
    assert "(data.tokens) holds a list, not a text" in message(tagged(path).rows, "train")


def test_of_several_columns_the_longest_text_is_proposed(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"id": "x1", "passage": "EU rejects", "words": ["a"] * 99}])
    assert message(Files(train=str(path)).rows, "train").endswith("try data.text=passage")


def test_a_list_is_not_proposed_for_a_text_nor_a_text_for_a_list(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"body": "EU rejects", **ROWS[0]}])
    assert message(Files(train=str(path), text="words2").rows, "train").endswith("try data.text=body")
    assert message(tagged(path, tokens="bodies").rows, "train").endswith("try data.tokens=words")
    path = write(tmp_path / "b.jsonl", ROWS)
    assert message(Files(train=str(path)).rows, "train").endswith("no column 'text'; it has words, names")
    (tmp_path / "a.csv").write_text("text,label\nEU rejects,B-ORG O\n")
    assert message(tagged(tmp_path / "a.csv", tags=None).rows, "train").endswith(
        'it has text, label. Give a .jsonl or .parquet with lists, as in {"words": ["a", "b"]}'
    )


def test_sentences_are_held_out_by_their_tokens(tmp_path):
    rows = [{"words": ["row", str(i % 100)], "names": ["O", str(i)]} for i in range(400)]
    data = tagged(write(tmp_path / "a.jsonl", rows), validation_share=0.2)
    train, held_out = ([row["tokens"][1] for row in data.rows(split)] for split in ("train", "validation"))
    assert len(train) + len(held_out) == 400 and 40 < len(held_out) < 140
    assert not set(train) & set(held_out)


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.csv"])
def test_scores_are_numbers_however_they_are_written(tmp_path, name):
    rows = [{"text": "one", "stars": 4}, {"text": "two", "stars": -0.5}]
    if name == "a.csv":
        (tmp_path / name).write_text("text,stars\none, 4\ntwo,-5e-1\n")
    else:
        write(tmp_path / name, [{**row, "stars": float(row["stars"])} for row in rows])
    data = Files(train=str(tmp_path / name), score="stars", clean=Clean(html=True))
    assert list(data.rows("train")) == [{"text": "one", "score": 4.0}, {"text": "two", "score": -0.5}]


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        (
            "good",
            "holds 'good', which is no finite number: mend the row, or remove it. Classes are for task=classification",
        ),
        ("3,5", "holds '3,5', which is no finite number: write 3.5"),
        ("1,234", "without commas between thousands, and with a point before a fraction"),
        ("nan", "holds 'nan', which is no finite number"),
        ("-inf", "holds '-inf', which is no finite number"),
        ("1e999", "holds '1e999', which is no finite number"),
        ("", "no value in column 'stars' (data.score): fill it in, or remove the row"),
        ("  ", "no value in column 'stars' (data.score): fill it in, or remove the row"),
    ],
)
def test_what_is_no_score_is_told_by_file_and_row(tmp_path, cell, said):
    path = tmp_path / "a.csv"
    path.write_text(f"text;stars\none;4\ntwo;{cell}\n")
    assert message(Files(train=str(path), score="stars").rows, "train").startswith(f"{path} line 3: ")
    assert said in message(Files(train=str(path), score="stars").rows, "train")


@pytest.mark.parametrize("value", [None, True, [1] * 999, {"a": "1" * 999}, float("nan"), 10**400])
def test_what_is_no_score_in_json_is_told_by_file_and_row(tmp_path, value):
    path = write(tmp_path / "a.jsonl", [{"text": "one", "stars": 4}, {"text": "two", "stars": value}])
    said = message(Files(train=str(path), score="stars").rows, "train")
    assert said.startswith(f"{path} line 2: ") and len(said) < 400


def test_numbers_and_classes_are_told_apart(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"text": f"row {i}", "stars": i / 10} for i in range(1000)])
    assert "task=regression data.score=stars" in message(Files(train=str(path), label="stars").rows, "train")
    path = write(tmp_path / "b.jsonl", [{"text": f"row {i}", "stars": f"no {i}"} for i in range(1000)])
    assert "regression" not in message(Files(train=str(path), label="stars").rows, "train")
    path = write(tmp_path / "c.jsonl", [{"text": f"row {i}", "stars": i % 10 / 2} for i in range(1000)])
    assert len({row["label"] for row in Files(train=str(path), label="stars").rows("train")}) == 10


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.csv"])
def test_labels_may_be_lists(tmp_path, name):
    if name == "a.csv":
        (tmp_path / name).write_text("text,topics\none,sea; garden;sea\ntwo,\n")
    else:
        write(tmp_path / name, [{"text": "one", "topics": ["sea", " garden", "sea"]}, {"text": "two", "topics": []}])
    data = Files(train=str(tmp_path / name), label="topics", label_separator=";" if name == "a.csv" else None)
    rows = [{"text": "one", "label": ["sea", "garden"]}, {"text": "two", "label": []}]
    assert list(data.rows("train")) == rows
    assert label_names(data, several=True) == (("garden", "sea"), (1, 1))
    assert "task=multilabel" in message(label_names, data)
