"""Files of every format give the same rows; every mistake gives one line that says what to type."""

import csv
import gzip
import json
import tracemalloc

import pytest

from groundup.data.reading import Reading, read
from groundup.data.sources.files import Files
from groundup.data.sources.labels import label_names
from groundup.errors import UserError
from groundup.text.clean import Clean

ROWS = [
    {"review": 'He said "fine", twice', "stars": "5"},
    {"review": "早餐非常简单，\n不好", "stars": "1"},
    {"review": "naïve 😀 ＡＢＣ", "stars": "5"},
]


def write(path, rows, newline="\n"):
    suffix = path.name.removesuffix(".gz").rsplit(".", 1)[1]
    if suffix == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    with (gzip.open if path.suffix == ".gz" else open)(path, "wt", encoding="utf-8", newline="") as file:
        if suffix == "jsonl":
            file.writelines(json.dumps(row, ensure_ascii=False) + newline for row in rows)
        elif suffix == "csv":
            table = csv.DictWriter(file, rows[0], lineterminator=newline)
            table.writeheader()
            table.writerows(rows)
        elif suffix == "tsv":
            file.write("\t".join(rows[0]) + newline)
            file.writelines("\t".join(map(str, row.values())) + newline for row in rows)
        else:
            file.writelines(row["review"] + newline for row in rows)
    return path


def source(path, **options):
    return Files(train=str(path), text="review", label="stars", **options)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.jsonl", "a.jsonl.gz", "a.parquet", "a.tsv", "a.tsv.gz"])
def test_every_format_gives_the_same_rows(tmp_path, name, newline, streaming):
    rows = [ROWS[0], ROWS[2]] if ".tsv" in name else ROWS  # a .tsv cannot hold line breaks
    data = source(write(tmp_path / name, rows, newline), streaming=streaming)
    expected = [{"text": row["review"], "label": row["stars"]} for row in rows]
    assert list(data.rows("train")) == expected
    assert list(data.rows("train")) == expected  # again
    assert data.splits() == ["train"]


def test_quotes_in_a_tsv_are_text(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('review\tstars\n"open\t1\nnext "one"\t2\n')
    assert [row["text"] for row in source(path).rows("train")] == ['"open', 'next "one"']


def test_txt_is_one_document_with_every_character_kept(tmp_path):
    text = "\ufeffFirst line\r\n\r\n  two\tspaces \x0c\n\n最后\u2028一行"
    path = tmp_path / "book.txt"
    path.write_bytes(text.encode())
    assert list(Files(train=str(path)).rows("train")) == [{"text": text.removeprefix("\ufeff")}]


def test_the_folder_of_a_document_may_be_its_class(tmp_path):
    for name, folder in (("1", "good"), ("2", "good"), ("1", "bad")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / f"{name}.txt").write_text(f"{folder} {name}\nfilm\n")
    files = {"train": "*/*.txt", "root": str(tmp_path), "text": "text", "label": "folder"}
    rows = list(Files(**files).rows("train"))
    assert sorted((row["text"], row["label"]) for row in rows) == [
        (f"{folder} {name}\nfilm\n", folder) for folder, name in (("bad", "1"), ("good", "1"), ("good", "2"))
    ]
    halves = Files(**files, validation_share=0.5)  # held out as rows are, not the end of each
    assert all(row in rows for split in halves.splits() for row in halves.read(split))
    before = Files(**files).fingerprint("train")
    (tmp_path / "good").rename(tmp_path / "better")
    (tmp_path / "bad").rename(tmp_path / "an other")
    assert Files(**files).fingerprint("train") != before


def test_txt_by_line_has_a_row_a_line(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes("one\r\n\r\nthree\u2028still three\x0c\nfour".encode())
    rows = Files(train=str(path), txt="line").rows("train")
    assert [row["text"] for row in rows] == ["one", "", "three\u2028still three\x0c", "four"]


def test_list_and_glob_of_mixed_formats(tmp_path):
    write(tmp_path / "a.jsonl", [{"text": "a", "label": "x"}])
    write(tmp_path / "b.jsonl.gz", [{"text": "b"}])
    (tmp_path / "c.txt").write_text("c\nd\n")
    rows = Files(train=["*.jsonl*", "c.txt"], root=str(tmp_path)).rows("train")
    assert [row["text"] for row in rows] == ["a", "b", "c\nd\n"]


def test_numbers_become_strings_and_labels_lose_blanks(tmp_path):
    data = source(write(tmp_path / "a.jsonl", [{"review": 12, "stars": 4}, {"review": "x", "stars": " 10 "}] * 2))
    assert list(data.rows("train"))[:2] == [{"text": "12", "label": "4"}, {"text": "x", "label": "10"}]
    assert label_names(data) == (("4", "10"), (2, 2))  # as numbers, not as strings


def test_labels_in_a_fixed_order(tmp_path):
    path = write(tmp_path / "a.csv", ROWS)
    assert label_names(source(path, labels=["5", "3", "1"])) == (("5", "3", "1"), (2, 0, 1))
    with pytest.raises(UserError, match=r"label '5' .* not in data.labels"):
        label_names(source(path, labels=["1", "2"]))


def test_pairs_and_cleaning(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"a": "<b>One</b>", "b": "TWO &amp; 3", "c": "Yes"}])
    data = Files(train=str(path), text="a", text_pair="b", label="c", clean=Clean(html=True, lowercase=True))
    assert list(data.rows("train")) == [{"text": "one", "text_pair": "two & 3", "label": "Yes"}]


def test_broken_surrogates_do_not_reach_the_tokenizer(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "half \\ud83d"}\n')
    assert list(Files(train=str(path)).rows("train")) == [{"text": "half \ufffd"}]


def test_held_out_share_is_disjoint_complete_and_by_content(tmp_path):
    rows = [{"text": f"row {i % 400}"} for i in range(800)]  # each one twice
    path = write(tmp_path / "a.jsonl", rows)
    data = Files(train=str(path), validation_share=0.2)
    train, held_out = ([row["text"] for row in data.rows(split)] for split in ("train", "validation"))
    assert data.splits() == ["train", "validation"]
    assert sorted(train + held_out) == sorted(row["text"] for row in rows)
    assert not set(train) & set(held_out)
    assert 0.12 < len(held_out) / 800 < 0.28
    again = Files(train=str(write(tmp_path / "b.jsonl", rows[::-1])), validation_share=0.2)
    assert {row["text"] for row in again.rows("validation")} == set(held_out)


def test_held_out_share_of_one_document_is_its_end(tmp_path):
    text = "".join(f"line {i}\n" for i in range(100))
    (tmp_path / "a.txt").write_text(text)
    data = Files(train=str(tmp_path / "a.txt"), validation_share=0.1)
    (train,), (held_out,) = data.rows("train"), data.rows("validation")
    assert train["text"] + held_out["text"] == text
    assert held_out["text"].startswith("line 9") and 0.08 < len(held_out["text"]) / len(text) < 0.13


@pytest.mark.parametrize("mark", ["\n", " "])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("places", [[10], [10, 8000], [], range(0, 10_000, 70)])
def test_the_held_out_end_of_a_document_is_near_the_share_asked_for(tmp_path, places, share, mark):
    text = "".join(mark if place in places else "x" for place in range(10_000))
    (tmp_path / "a.txt").write_text(text)
    data = Files(train=str(tmp_path / "a.txt"), validation_share=share)
    (train,), (held_out,) = data.rows("train"), data.rows("validation")
    assert train["text"] + held_out["text"] == text
    assert abs(len(held_out["text"]) / len(text) - share) <= min(share, 1 - share) / 2
    assert train["text"].endswith(mark) or len(places) < 100


def test_cleaning_moves_no_row_from_one_split_to_the_other(tmp_path):
    rows = [{"text": f"Row {i}  <b>", "label": "Ab"} for i in range(200)]
    path = write(tmp_path / "a.jsonl", rows)
    clean = Clean(lowercase=True, whitespace=True, html=True)
    plain, neat = (Files(train=str(path), label="label", validation_share=0.3, clean=one) for one in (None, clean))
    for split in ("train", "validation"):
        assert [{**row, "text": clean(row["text"])} for row in plain.rows(split)] == list(neat.rows(split))


def test_given_validation_file_wins_over_the_share(tmp_path):
    path = write(tmp_path / "a.csv", ROWS)
    data = source(path, validation=str(path), validation_share=0.5)
    assert len(list(data.rows("train"))) == len(list(data.rows("validation"))) == 3


def test_fingerprint_follows_content_and_settings_not_the_place(tmp_path):
    (tmp_path / "x").mkdir()
    first, copy = (source(write(folder / "a.csv", ROWS)) for folder in (tmp_path, tmp_path / "x"))
    assert first.fingerprint("train") == copy.fingerprint("train")
    different = [
        source(write(tmp_path / "b.csv", ROWS[:2])),
        source(tmp_path / "a.csv", clean=Clean(lowercase=True)),
        Files(train=str(tmp_path / "a.csv"), text="review"),
        source(tmp_path / "a.csv", validation_share=0.5),
    ]
    assert len({data.fingerprint("train") for data in [first, *different]}) == 5


def test_streaming_does_not_hold_the_rows(tmp_path):
    path = tmp_path / "big.jsonl.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.writelines(json.dumps({"text": f"{i} " + "x" * 1000}) + "\n" for i in range(8000))  # 8 MB
    data = Files(train=str(path), streaming=True)
    tracemalloc.start()
    try:
        assert sum(1 for _ in data.rows("train")) == 8000
        assert tracemalloc.get_traced_memory()[1] < 1_500_000
    finally:
        tracemalloc.stop()


def pairs(path, **options):
    return Files(train=str(path), **{"source": "en", "target": "zh", **options})


PAIRS = [{"en": "Hi.", "zh": "嗨。"}, {"en": "", "zh": "空"}, {"en": "Run!", "zh": ""}, {"en": " a ", "zh": "b"}]


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl.gz", "a.parquet", "a.tsv"])
def test_pairs_have_source_and_target_and_empty_ones_stay(tmp_path, name):
    data = pairs(write(tmp_path / name, PAIRS))
    assert data.columns == {"source": "en", "target": "zh"}  # and no text is asked for
    assert list(data.rows("train")) == [{"source": row["en"], "target": row["zh"]} for row in PAIRS]


def test_references_are_lists_whatever_the_file_holds(tmp_path):
    given = [["one", 2], ["three"], [], None, "four"]
    path = write(tmp_path / "a.jsonl", [{"en": "x", "zh": "y", "more": value} for value in given])
    rows = list(pairs(path, references="more", clean=Clean(lowercase=True)).rows("train"))
    assert [row["references"] for row in rows] == [["one", "2"], ["three"], [], [], ["four"]]
    path = write(tmp_path / "a.tsv", [{"en": "x", "zh": "y", "more": "z"}, {"en": "x", "zh": "y", "more": ""}])
    assert [row["references"] for row in pairs(path, references="more").rows("train")] == [["z"], []]


def test_groups_and_cleaning_of_pairs(tmp_path):
    path = write(tmp_path / "a.jsonl", [{"en": "A  B", "zh": "C\n\nD", "more": ["E  F"], "kind": " Old  News "}])
    data = pairs(path, references="more", group="kind", clean=Clean(lowercase=True, whitespace=True))
    assert list(data.rows("train")) == [
        {"source": "a b", "target": "c\nd", "references": ["e f"], "group": "Old  News"}  # a name is not cleaned
    ]


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_nested_columns_are_paths(tmp_path, name):
    path = write(tmp_path / name, [{"id": "1", "translation": {"en": "Hi.", "de": "Hallo."}}])
    data = pairs(path, source="translation.en", target="translation.de")
    assert list(data.rows("train")) == [{"source": "Hi.", "target": "Hallo."}]
    said = message(lambda: list(pairs(path, source="translation.en", target="translation.zh").rows("train")))
    assert "it has id, translation.en, translation.de" in said and said.endswith("try data.target=translation.de")
    said = message(lambda: list(pairs(path, source="translation", target="id").rows("train")))
    assert "holds a dict, not a text; try data.source=translation.en" in said


def test_a_column_with_a_dot_in_its_name_is_found_as_it_is(tmp_path):
    path = write(tmp_path / "a.tsv", [{"text.en": "Hi.", "text.de": "Hallo."}])
    assert list(pairs(path, source="text.en", target="text.de").rows("train")) == [
        {"source": "Hi.", "target": "Hallo."}
    ]


def test_held_out_pairs_go_by_their_source(tmp_path):
    rows = [{"en": f"source {i % 150}", "zh": f"target {i}"} for i in range(600)]  # each source has four targets
    data = pairs(write(tmp_path / "a.tsv", rows), validation_share=0.2)
    train, held_out = (list(data.rows(split)) for split in ("train", "validation"))
    assert len(train) + len(held_out) == 600 and 60 < len(held_out) < 180
    assert not {row["source"] for row in train} & {row["source"] for row in held_out}


def test_what_is_held_out_is_told_once(tmp_path, caplog):
    data = pairs(write(tmp_path / "a.tsv", PAIRS * 5), validation_share=0.3)
    with caplog.at_level("INFO"):
        for split in ("train", "validation"):
            data.fingerprint(split)
            list(data.rows(split))
    assert [record.getMessage() for record in caplog.records] == ["validation: 30 % of train held out, by content"]
    caplog.clear()
    with caplog.at_level("INFO"):
        list(pairs(tmp_path / "a.tsv", validation=str(tmp_path / "a.tsv"), validation_share=0.3).rows("train"))
    assert not caplog.records


def test_pairs_and_texts_are_cut_in_two_without_being_asked(tmp_path, repository):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from groundup.config.build import instantiate

    path = write(tmp_path / "pairs.tsv", [{"en": f"row {i}", "zh": "x"} for i in range(100)])
    with initialize_config_dir(str(repository / "conf"), version_base="1.3"):
        config = compose(overrides=["+data=files", f"data.train={path}", "data.source=en", "data.target=zh"]).data
    data = instantiate(OmegaConf.to_container(config), "data")
    assert data.splits() == ["train", "validation"] and data.columns == {"source": "en", "target": "zh"}
    assert len(list(data.rows("train"))) + len(list(data.rows("validation"))) == 100


def message(call):
    with pytest.raises(UserError) as error:
        call()
    text = str(error.value)
    assert "\n" not in text
    return text


def rows_of(path, **options):
    return lambda: list(Files(train=str(path), **options).rows("train"))


def test_missing_file_names_its_neighbours(tmp_path):
    write(tmp_path / "train.csv", ROWS)
    assert "train.csv" in message(rows_of(tmp_path / "trian.csv")) and "data.root=" in message(rows_of("no/where.csv"))
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in message(lambda: list(read(tmp_path / "folder.csv", Reading())))
    assert "no file matches" in message(rows_of(tmp_path / "*.tsv"))


def test_missing_column_names_those_that_exist_and_the_nearest(tmp_path):
    path = write(tmp_path / "a.csv", ROWS)
    said = message(rows_of(path, text="reviews", label="stars"))
    assert "no column 'reviews'" in said and "review, stars" in said and "data.text=review" in said
    said = message(rows_of(path, text="review", label="star"))
    assert "data.label=stars" in said
    (tmp_path / "a.txt").write_text("words")
    assert "no labels" in message(rows_of(tmp_path / "a.txt", label="stars"))


def test_a_list_is_no_text(tmp_path):
    path = write(tmp_path / "b.jsonl", [{"review": ["a"], "stars": 1}])
    assert "holds a list" in message(lambda: list(source(path).rows("train")))


def test_pair_without_one_side(tmp_path):
    assert "add data.target=COLUMN" in message(lambda: Files(train="a.tsv", source="en"))
    assert "add data.source=COLUMN" in message(lambda: Files(train="a.tsv", target="zh"))
    assert "add data.source=COLUMN" in message(lambda: Files(train="a.tsv", references="more"))


def test_missing_column_of_a_pair_proposes_one_that_is_free(tmp_path):
    path = write(tmp_path / "a.tsv", [{"en": "Hi.", "fr": "Salut."}])
    said = message(lambda: list(pairs(path).rows("train")))
    assert "no column 'zh'; it has en, fr" in said and said.endswith("try data.target=fr")


def test_pairs_in_a_txt_are_told_which_files_can_hold_them(tmp_path):
    (tmp_path / "a.txt").write_text("Hi.\n")
    for txt in ("file", "line"):
        said = message(lambda: list(pairs(tmp_path / "a.txt", txt=txt).rows("train")))  # noqa: B023
        assert "paste SOURCE.txt TARGET.txt > pairs.tsv, and data.train=pairs.tsv data.columns=[source,target]" in said


def test_broken_pairs_name_the_line(tmp_path):
    path = write(tmp_path / "a.jsonl", [PAIRS[0], {"en": "x", "zh": None}])
    assert "line 2: no value in column 'zh' (data.target)" in message(lambda: list(pairs(path).rows("train")))
    path = write(tmp_path / "b.jsonl", [PAIRS[0], {"en": "x"}])
    assert "line 2: no column 'zh'" in message(lambda: list(pairs(path).rows("train")))
    path = write(tmp_path / "c.jsonl", [{"en": ["x"], "zh": "y"}])
    assert "(data.source) holds a list" in message(lambda: list(pairs(path).rows("train")))
    path = write(tmp_path / "d.jsonl", [{"en": "x", "zh": "y", "more": [["z"]]}])
    assert "(data.references) holds a list" in message(lambda: list(pairs(path, references="more").rows("train")))
    (tmp_path / "a.tsv").write_text("en\tzh\nHi.\t嗨。\nRun!\n")
    assert "line 3: 1 cell, but the header has 2" in message(lambda: list(pairs(tmp_path / "a.tsv").rows("train")))
    (tmp_path / "b.tsv").write_text("en\tzh\nHi.\t嗨。\t你好。\n")
    assert "line 2: 3 cells, but the header has 2" in message(lambda: list(pairs(tmp_path / "b.tsv").rows("train")))


def test_too_little_to_hold_out_of(tmp_path):
    data = pairs(write(tmp_path / "a.tsv", PAIRS[:1]), validation_share=0.01)
    assert "data.validation=dev.csv" in message(lambda: data.rows("validation"))


def test_no_label_column_at_all(tmp_path):
    data = Files(train=str(write(tmp_path / "a.csv", ROWS)), text="review")
    assert "data.label=COLUMN" in message(lambda: label_names(data))


def test_lists_of_labels_are_for_another_task(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "a", "label": ["B", "I"]}\n{"text": "b", "label": ["B"]}\n')
    assert "row 1 of the train split has a list of labels: try task=multilabel" in message(
        lambda: label_names(Files(train=str(file), text="text", label="label"))
    )


def test_one_class_only(tmp_path):
    data = source(write(tmp_path / "a.csv", [ROWS[0], ROWS[2]]))
    assert "one class only ('5', 2 rows)" in message(lambda: label_names(data))


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.tsv", "a.txt", "a.txt.gz"])
def test_empty_file(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"") if name.endswith(".gz") else b"")
    assert "no rows" in message(rows_of(path))


def test_header_only(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("review,stars\n")
    assert "header only" in message(rows_of(path, text="review"))


def test_missing_split(tmp_path):
    data = source(write(tmp_path / "a.csv", ROWS))
    assert "data.validation_share=0.1" in message(lambda: data.rows("validation"))
    assert "data.test=FILE" in message(lambda: data.rows("test"))
    assert "data.train=train.csv" in message(lambda: Files())


def test_broken_json_names_the_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n\n{"text": "cut\n')
    assert "line 3: broken JSON" in message(rows_of(path))
    path.write_text('{"text": "fine"}\n[1, 2]\n')
    assert "line 2: a JSON array" in message(rows_of(path))


def test_broken_tables_name_the_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("review,stars\nfine,1\none, two,3\n")
    assert "line 3: 3 cells, but the header has 2" in message(rows_of(path, text="review"))
    path.write_text('review,stars\n"never closed,1\n')
    assert "line 2: a quote is never closed" in message(rows_of(path, text="review"))


def test_damaged_files(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"text": "a"}\n' * 1000)[:-20])
    assert "damaged or cut off gzip" in message(rows_of(path))
    path.write_bytes(b"not gzip at all")
    assert "is not packed, or damaged" in message(rows_of(path))
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 not parquet")
    assert "not a parquet file" in message(rows_of(path))


def test_unknown_format(tmp_path):
    for name in ("a.jsn", "a.xls"):
        (tmp_path / name).write_text("a\n")
    assert ".jsonl" in message(rows_of(tmp_path / "a.jsn"))
    assert "unknown format '.xls'" in message(rows_of(tmp_path / "a.xls"))


def test_streaming_one_document_asks_for_lines(tmp_path):
    (tmp_path / "a.txt").write_text("words")
    assert "data.txt=line" in message(rows_of(tmp_path / "a.txt", streaming=True))


@pytest.mark.parametrize(
    "name",
    ["sst2", "trec6", "ag_news", "chnsenticorp", "tinyshakespeare", "wikitext2", "multi30k", "tatoeba_en_zh", "aeslc"],
)
def test_ready_yamls_read_local_copies(data_root, repository, name):
    if not (data_root / name).is_dir():
        pytest.skip(f"no {name} in {data_root}")
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from groundup.config.build import instantiate

    with initialize_config_dir(str(repository / "conf"), version_base="1.3"):
        config = compose(overrides=[f"+data={name}", f"data.root={data_root}"]).data
    data = instantiate(OmegaConf.to_container(config), "data")
    assert "train" in data.splits() and "validation" in data.splits()
    role = "source" if "source" in data.columns else "text"
    assert all(row[role] for row in list(data.rows("validation"))[:20])
    if "label" in data.columns:
        names, counts = label_names(data)
        assert len(names) > 1 and sum(counts) == len(data.rows("train"))
    assert sum(len(row[role]) for row in data.rows("train")) > 100_000
