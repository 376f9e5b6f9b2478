"""Files as people have them: any encoding, any delimiter, no header, gaps, mistakes. Right, or one line that helps."""

import gzip
import json

import pytest

from groundup.data.formats.text import plausibility
from groundup.data.reading import Reading, read
from groundup.data.sources.files import Files
from groundup.data.sources.labels import alike, label_names
from groundup.errors import UserError

CHINESE = "酒店位置很好，早餐非常简单"
TABLE = [{"text": "fine; really", "label": "pos"}, {"text": "no, thanks", "label": "neg"}]


def file(path, content, encoding="utf-8"):
    raw = content if isinstance(content, bytes) else content.encode(encoding)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def rows(path, split="train", **options):
    return list(Files(**{split: str(path)}, **options).rows(split))


def message(call, *arguments, **options):
    with pytest.raises(UserError) as error:
        call(*arguments, **options)
    text = str(error.value)
    assert "\n" not in text and len(text) < 600
    return text


# Encodings


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("gb18030", CHINESE),
        ("big5", "這家旅館的早餐非常簡單"),
        ("shift_jis", "朝食はとても簡単でした"),
        ("euc_kr", "아침 식사가 아주 간단했습니다"),
        ("cp1252", "une réponse très naïve"),
        ("cp1251", "простой завтрак"),
        ("koi8_r", "простой завтрак"),
    ],
)
def test_a_file_in_another_encoding_is_shown_as_it_could_be_read(tmp_path, name, encoding, text):
    path = file(tmp_path / name, "first\n" * 5000 + text + "\n" + text, encoding)
    said = message(rows, path)
    assert "not UTF-8 at byte 300" in said and "(line 5001)" in said
    shown = said.split("Which is right? ")[1].split(" or ")
    assert any(one.startswith(f"data.encoding={encoding} (") and one[:-1].split("(")[1] in text for one in shown)
    assert len(shown) < 4
    assert rows(path, encoding=encoding)[0]["text"].endswith(text)


def test_a_wrong_reading_looks_less_like_language():
    for encoding, text in {"gb18030": CHINESE, "cp1252": "une réponse très naïve", "cp1251": "простой завтрак"}.items():
        wrong = [text.encode(encoding).decode(other, "replace") for other in ("gb18030", "cp1252") if other != encoding]
        assert plausibility(text) == 1 > max(map(plausibility, wrong))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(tmp_path, encoding):
    path = file(tmp_path / "a.csv", f"text,label\r\n{CHINESE},好\r\n", encoding)
    for options in ({}, {"encoding": "gb18030"}):
        assert rows(path, label="label", **options) == [{"text": CHINESE, "label": "好"}]


def test_utf16_without_a_mark_is_recognized_by_its_zeros(tmp_path):
    for order in ("le", "be"):
        path = file(tmp_path / "a.csv", "text,label\nfine,pos\n", f"utf-16-{order}")
        assert f"Try data.encoding=utf-16-{order}" in message(rows, path)
        assert rows(path, encoding=f"utf-16-{order}") == [{"text": "fine"}]


def test_the_named_encoding_is_for_files_that_are_not_utf8(tmp_path):
    file(tmp_path / "a.jsonl", json.dumps({"text": CHINESE}, ensure_ascii=False), "gb18030")
    file(tmp_path / "b.jsonl", "\n" * 100_000 + json.dumps({"text": CHINESE}, ensure_ascii=False), "utf-8")
    found = Files(train=["a.jsonl", "b.jsonl"], root=str(tmp_path), encoding="gb18030").rows("train")
    assert [row["text"] for row in found] == [CHINESE] * 2


def test_one_damaged_line_of_utf8_is_called_damaged(tmp_path):
    path = file(tmp_path / "a.txt", (CHINESE + "\n").encode() * 50 + b"\xe9\xff\n" + CHINESE.encode())
    assert "damaged at byte" in (said := message(rows, path)) and "(line 51)" in said and "data.encoding" not in said


def test_encodings_that_do_not_exist_or_do_not_fit(tmp_path):
    assert "gb18030" in message(Files, train="a.csv", encoding="chinese-ish")
    assert "gb18030" in message(Files, train="a.csv", encoding="base64")
    path = file(tmp_path / "a.txt", CHINESE, "gb18030")
    assert "not EUC_JP at byte" in message(rows, file(tmp_path / "b.txt", b"\xff\x80" * 3), encoding="euc_jp")
    assert "not UTF-16" in message(rows, file(tmp_path / "c.txt", b"\x00\xd8a\x00"), encoding="utf-16-le")
    assert "data.encoding is for" in message(Files, train="a.parquet", encoding="gb18030")
    assert rows(path, encoding="gbk") == [{"text": CHINESE}]


# Tables


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("quote", [True, False])
def test_the_delimiter_of_a_csv_is_found(tmp_path, mark, header, quote):
    def cell(text):
        return f'"{text}"' if quote or mark in text else text

    lines = [["text", "label"]] * header + [list(row.values()) for row in TABLE]
    content = "".join(mark.join(map(cell, line)) + "\r\n" for line in lines)
    path = file(tmp_path / "a.csv", content, "utf-8-sig")
    options = {} if header else {"columns": ["text", "label"]}
    assert rows(path, label="label", **options) == TABLE
    assert rows(path, label="label", delimiter={"\t": "tab"}.get(mark, mark), **options) == TABLE


def test_the_line_in_which_excel_names_the_delimiter(tmp_path):
    path = file(tmp_path / "a.csv", "sep=|\r\ntext|label\r\na;b|pos\r\nbroken\r\n")
    assert next(read(path, Reading())) == (f"{path} line 3", {"text": "a;b", "label": "pos"})
    assert "line 4: 1 cell" in message(rows, path)


def test_delimiters_of_a_tsv(tmp_path):
    path = file(tmp_path / "a.tsv", "text,label\nfine,pos\n")
    assert "Try data.delimiter=','" in message(rows, path)
    assert rows(path, label="label", delimiter=",") == [{"text": "fine", "label": "pos"}]
    path = file(tmp_path / "b.tsv", 'text\tlabel\n"fine\tpos\n')
    assert rows(path, delimiter=r"\t") == rows(path) == [{"text": '"fine'}]
    assert "one character" in message(Files, train="a.csv", delimiter=";;")
    assert "one character" in message(Files, train="a.csv", delimiter='"')


def test_a_table_without_a_header(tmp_path):
    path = file(tmp_path / "a.csv", "fine,pos\n\nbad,neg\n")
    assert rows(path, columns=["text", "label"], label="label") == [
        {"text": "fine", "label": "pos"},
        {"text": "bad", "label": "neg"},
    ]
    assert "data.columns has 3 (a, b, c)" in message(rows, path, columns=["a", "b", "c"])
    assert "two columns are called 'a'" in message(Files, train="a.csv", columns=["a", "a"])
    assert "data.columns is for .csv .tsv" in message(Files, train="a.jsonl", columns=["a"])
    assert "data.delimiter is for .csv .tsv" in message(Files, hub="some/set", delimiter=";")
    assert Files(train="parts/*", columns=["a"]).reading.columns == ("a",)


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.parquet", "a.jsonl"])
def test_two_columns_of_one_name(tmp_path, name):
    if name == "a.parquet":
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.Table.from_arrays([pyarrow.array(["x"])] * 3, names=["text", "label", "text"])
        pyarrow.parquet.write_table(table, path := tmp_path / name)
    else:
        marks = {"a.csv": ",", "a.tsv": "\t", "a.jsonl": ","}
        path = file(tmp_path / name, "\n".join(marks[name].join(line) for line in (["text", "label", "text"], "abc")))
        if name == "a.jsonl":
            file(path, '{"text": "a", "label": "b", "text": "c"}')
    assert "'text'" in (said := message(rows, path)) and "two " in said


def test_columns_without_a_name_and_thousands_of_them(tmp_path):
    path = file(tmp_path / "a.csv", "text;label;;\nfine;pos;;\n")
    assert rows(path, label="label") == [{"text": "fine", "label": "pos"}]
    path = file(tmp_path / "b.csv", ",".join(f"c{i}" for i in range(5000)) + "\n" + "," * 4999 + "\n")
    assert "(5000 in all)" in message(rows, path)
    path = file(tmp_path / "a.jsonl", '{"text ": "a"}\n')
    assert "it has 'text '" in message(rows, path)


# Labels


def labelled(tmp_path, given, **options):
    lines = [json.dumps({"text": "x", "label": label}) + "\n" for label in given]
    return Files(train=str(file(tmp_path / "a.jsonl", "".join(lines))), label="label", **options)


FORMS = {"train": "", "validation": ".0", "test": ".000"}


def test_one_label_in_two_spellings_is_one_class(tmp_path):
    assert label_names(labelled(tmp_path, [1, 1.0, 2, "1 "])) == (("1", "2"), (3, 1))
    assert label_names(labelled(tmp_path, ["caf\u00e9", "cafe\u0301", "b"])) == (("b", "caf\u00e9"), (1, 2))


def test_a_class_is_the_same_as_a_spreadsheet_and_as_a_database_write_it(tmp_path):
    rows = "text,label,id\na,{}{x},1.0\nb,{}{x},2.0\nc,{}{x},3.0\n"
    files = {name: file(tmp_path / f"{name}.csv", rows.format(1, 0, -10, x=end)) for name, end in FORMS.items()}
    source = Files(**{name: str(path) for name, path in files.items()}, label="label", id="id")
    assert label_names(source)[0] == ("-10", "0", "1")
    assert list(source.rows("train")) == list(source.rows("validation")) == list(source.rows("test"))
    assert [row["id"] for row in source.rows("train")] == ["1.0", "2.0", "3.0"]  # a name is kept as it is
    several = Files(train=str(file(tmp_path / "m.csv", "text,label\na,1.0;2\n")), label="label", label_separator=";")
    assert [row["label"] for row in several.rows("train")] == [["1", "2"]]
    other = ["1.5", "1.10", "01.0", "v1.0", "1.0.0", "１.0", "1e3", ".0", "9" * 5000 + ".0"]
    assert label_names(labelled(tmp_path, other))[0] == tuple(sorted([*other[:-1], "9" * 5000]))


def test_classes_that_differ_in_spelling_are_found():
    assert alike(["Sports", "world", "sports ", "ｗorld"]) == [["Sports", "sports "], ["world", "ｗorld"]]
    assert alike(["1", "1.0", "True", "10", "a.0", "0.5", "0.50", "1.10"]) == [["1", "1.0", "True"], ["0.5", "0.50"]]
    assert not alike(["a", "b", "10", "1", "ca", "cà"])


def test_labels_given_twice():
    assert "'pos' 2 times" in message(Files, train="a.csv", labels=["pos", "neg", "pos"])


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_rows_without_label_or_text_are_counted_with_the_place_of_the_first(tmp_path, caplog, name):
    table = [("a", "x"), ("b", ""), ("", "y"), ("c", "y"), ("d", None), ("e", " "), (None, "x")]
    if name == "a.csv":
        path = file(tmp_path / name, "text,label\n" + "".join(f"{text or ''},{label or ''}\n" for text, label in table))
    else:
        path = file(tmp_path / name, "\n" + "".join(json.dumps({"text": a, "label": b}) + "\n" for a, b in table))
    for streaming in (False, True):
        caplog.clear()
        data = Files(train=str(path), label="label", streaming=streaming)
        for _ in range(2):
            assert [row["text"] for row in data.rows("train")] == ["a", "", "c", ""]
        assert [record.getMessage() for record in caplog.records] == [
            f"train: 3 rows (the first: {path} line 3) without a label: left out",
            f"train: 2 rows (the first: {path} line 4) with an empty text: kept",
        ]


def test_not_a_number_is_no_label(tmp_path):
    assert label_names(labelled(tmp_path, [1.0, float("nan"), 2.0])) == (("1", "2"), (1, 1))
    assert "no row has a label" in message(labelled(tmp_path, [None, None]).rows, "train")


def test_a_label_that_is_new_in_most_rows_is_asked_about(tmp_path):
    names = [f"id {i}" for i in range(100)]
    data = labelled(tmp_path, names)
    assert "data.label=label: 100 classes in 100 rows" in (said := message(label_names, data))
    assert "data.many_classes=true" in said
    assert len(label_names(labelled(tmp_path, names, many_classes=True))[0]) == 100
    assert len(label_names(labelled(tmp_path, names, labels=names))[0]) == 100
    assert len(label_names(labelled(tmp_path, names * 2))[0]) == 100
    assert len(label_names(labelled(tmp_path, names[:20]))[0]) == 20


# The fingerprint


def test_the_fingerprint_holds_format_and_options(tmp_path):
    content = '{"text": "a,b"}\n' * 3
    for name in ("a.txt", "a.jsonl", "a.csv", "a.tsv"):
        file(tmp_path / name, content)
    options = [{"txt": "line"}, {"encoding": "cp1252"}, {"delimiter": ";"}, {"columns": ["a", "b"]}]
    made = [Files(train=["*.txt", "*.csv"], root=str(tmp_path), **one) for one in [{}, *options]]
    made += [Files(train=str(path)) for path in sorted(tmp_path.iterdir())]
    assert len({one.fingerprint("train") for one in made}) == len(made)
