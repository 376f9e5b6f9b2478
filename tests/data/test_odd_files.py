"""Odd files, one of each kind: read as meant, or refused in one line that says what to do."""

import gzip
import json
import os

import pyarrow
import pyarrow.parquet
import pytest

from groundup.data.reading import read
from groundup.data.sources.files import Files
from groundup.errors import UserError
from groundup.system.cache import Cache, default_root

TABLE = "text,label\nfine,pos\nbad,neg\n"
ROWS = [{"text": "fine", "label": "pos"}, {"text": "bad", "label": "neg"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)
CHINESE = "文本,标签\n酒店位置很好,好\n早餐非常简单,坏\n"


def parquet(**columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), buffer := pyarrow.BufferOutputStream())
    return buffer.getvalue().to_pybytes()


WHOLE = parquet(text=["a"] * 5000, label=["x", "y"] * 2500)
RIGHT = {  # name: (file, content, rows)
    "carriage returns alone": ("a.csv", TABLE.replace("\n", "\r"), ROWS),
    "lines of JSON, carriage returns alone": ("a.jsonl", LINES.replace("\n", "\r"), ROWS),
    "both line ends in one file": ("a.csv", "text,label\r\nfine,pos\nbad,neg\r", ROWS),
    "two byte order marks": ("a.csv", "\ufeff\ufeff" + TABLE, ROWS),
    "packed under another name": ("a.csv", gzip.compress(TABLE.encode()), ROWS),
    "packed in two parts": ("a.csv.gz", gzip.compress(b"text,label\n") + gzip.compress(b"fine,pos\nbad,neg\n"), ROWS),
    "blanks around names of columns": ("a.csv", TABLE.replace("text,label", " text , label\t"), ROWS),
    "an empty column at the end": ("a.csv", TABLE.replace("\n", ",\n"), ROWS),
    "two files put together": ("a.csv", TABLE + TABLE, ROWS * 2),
    "quotes within a cell": ("a.csv", 'text,label\na "b" c,pos\n', [{"text": 'a "b" c', "label": "pos"}]),
    "a zero byte": ("a.csv", "text,label\nfi\0ne,pos\n", [{"text": "fi\0ne", "label": "pos"}]),
    "line separators": ("a.csv", "text,label\na\u2028b\x85c,pos\n", [{"text": "a\u2028b\x85c", "label": "pos"}]),
    "line separators and tabs in JSON": (
        "a.jsonl",
        '{"text":"a\u2028b\x0c\tc","label":"x"}\n',
        [{"text": "a\u2028b\x0c\tc", "label": "x"}],
    ),
    "no value": ("a.jsonl", '{"text":null,"label":"x"}\n{"text":NaN,"label":"x"}\n', [{"text": "", "label": "x"}] * 2),
    "bytes in parquet": ("a.parquet", parquet(text=["né".encode()], label=[1.0]), [{"text": "né", "label": "1"}]),
}
REFUSED = {  # name: (file, content, what the line says)
    "nothing": ("a.csv", "", "no rows"),
    "a byte order mark": ("a.csv", b"\xef\xbb\xbf", "no rows"),
    "a byte order mark of UTF-16": ("a.csv", b"\xff\xfe", "no rows"),
    "empty lines": ("a.csv", "\n\n", "no rows"),
    "zero bytes": ("a.txt", b"\0" * 99, "100% of its bytes are NUL: it is damaged, or no text"),
    "half a character of UTF-16": ("a.csv", TABLE.encode("utf-16")[:-1], "not UTF-16, or cut off"),
    "UTF-16 that does not say so": ("a.csv", CHINESE.encode("utf-16-le"), "data.encoding=utf-16-le (文本,标签"),
    "noise": ("a.csv", bytes(range(128, 256)) * 9, "like no language in any other encoding"),
    "an open quote": ("a.csv", TABLE + '"open,pos\n', "line 4: a quote is never closed"),
    "a quote that ends a cell": (
        "a.csv",
        'text,label\n"fine" film,pos\n',
        'line 2: a quote in a cell ends it; write ""',
    ),
    "a short row": ("a.csv", "text,label\nfine\n", "line 2: 1 cell, but the header has 2 (text, label)"),
    "a long row": ("a.csv", "text,label\nfine, film,pos\n", "line 2: 3 cells, but the header has 2 (text, label)"),
    "not packed": ("a.csv.gz", TABLE.encode(), "is not packed, or damaged: call it a.csv"),
    "packed twice": ("a.csv.gz", gzip.compress(gzip.compress(TABLE.encode())), "packed twice"),
    "packed, cut off": ("a.csv.gz", gzip.compress(TABLE.encode() * 999)[:-9], "damaged or cut off gzip"),
    "packed, with more behind": ("a.csv.gz", gzip.compress(TABLE.encode()) + b"more", "damaged or cut off gzip"),
    "packed with zstd": ("a.csv", b"\x28\xb5\x2f\xfd00", "unpack it first"),
    "a workbook": ("a.csv", b"PK\x03\x04\0", "Excel workbook"),
    "parquet by another name": ("a.csv", WHOLE, "call it .parquet"),
    "a web page": ("a.csv", "<!DOCTYPE html><html>...", "a web page"),
    "a pointer": ("a.parquet", "version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "an array": ("a.jsonl", json.dumps(ROWS), "line 1: a JSON array, not an object"),
    "JSON over several lines": ("a.jsonl", json.dumps(ROWS[0], indent=1), "write one object a line"),
    "numbers": ("a.jsonl", "1\n2\n", "a JSON int, not an object"),
    "quotes of Python": ("a.jsonl", "{'text': 'a'}\n", "line 1: broken JSON"),
    "deep": ("a.jsonl", "[" * 99_999 + "]" * 99_999, "nested too deeply"),
    "a key twice": ("a.jsonl", '{"text":"a","text":"b","label":"c"}\n', "line 1: two values for 'text'"),
    "a number of 5,000 digits": (
        "a.jsonl",
        '{"text":"a","label":%s}\n' % ("1" * 5000),
        "line 1: exceeds the limit (4300",
    ),
    "a dict as label": ("a.jsonl", '{"text":"a","label":{"x":1}}\n', "try data.label=label.x"),
    "a key that a row lacks": ("a.jsonl", LINES + '{"text":"a"}\n', "line 3: no column 'label'; it has text"),
    "bytes that are no text": (
        "a.parquet",
        parquet(text=[b"\xff"], label=[1]),
        "row 1: column 'text' (data.text) holds bytes",
    ),
    "damaged parquet": ("a.parquet", WHOLE[:40] + b"\xff" * 60 + WHOLE[100:], "damaged one"),
    "half of a parquet file": ("a.parquet", WHOLE[:-99], "damaged one"),
    "a table called parquet": ("a.parquet", TABLE, "not a parquet file"),
}


def made(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Files(train=str(path), label="label")


def message(call, *arguments):
    with pytest.raises(UserError) as error:
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", RIGHT)
def test_odd_and_right(tmp_path, name):
    file, content, rows = RIGHT[name]
    assert list(made(tmp_path / file, content).rows("train")) == rows


@pytest.mark.parametrize("name", REFUSED)
def test_odd_and_refused(tmp_path, name):
    file, content, said = REFUSED[name]
    assert said in (line := message(made(tmp_path / file, content).rows, "train"))
    assert line.startswith(str(tmp_path / file))


def test_no_files_at_all(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    (tmp_path / "device.csv").symlink_to("/dev/zero")
    wanted = {
        "pipe.csv": "is a pipe or a device",
        "device.csv": "is a pipe or a device",
        "folder.csv": "is a folder",
        "fold*": "is a folder",
        "loop.csv": "is a link",
        "x" * 300 + ".csv": "cannot be read: File name too long",
        "none*.csv": "no file matches",
        "https://example.com/a.csv": "is an address",
        "~nobody-here/a.csv": "no file",
        "a.csv/b.csv": "no file",
    }
    made(tmp_path / "a.csv", TABLE)
    for name, said in wanted.items():
        for ask in ("rows", "fingerprint"):
            assert said in message(getattr(Files(train=name, root=str(tmp_path)), ask), "train")


def test_a_name_that_is_not_utf8():
    for name in (b"caf\xe9.csv", b"caf\xe9*.csv"):
        assert "'caf\\udce9" in message(Files(train=os.fsdecode(name)).rows, "train")


def test_a_folder_whose_name_looks_like_a_pattern(tmp_path):
    (folder := tmp_path / "data [v2]").mkdir()
    made(folder / "a [1].csv", TABLE)
    for name in ("a [1].csv", "a*.csv"):
        assert list(Files(train=name, root=str(folder), label="label").rows("train")) == ROWS


def test_a_file_that_grows_while_it_is_read(tmp_path):
    source = made(tmp_path / "a.csv", TABLE * 9999)
    rows = read(tmp_path / "a.csv", source.reading)
    next(rows)
    with open(tmp_path / "a.csv", "a") as file:
        file.write("more,pos\n")
    assert "was changed while it was read" in message(list, rows)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    made(tmp_path / "a.csv", TABLE)

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("groundup.data.formats.text.open", refused, raising=False)
    assert "Permission denied; try chmod u+r" in message(made(tmp_path / "a.csv", TABLE).rows, "train")


def test_the_cache_without_a_home_and_in_the_place_of_a_file(tmp_path, monkeypatch):
    def homeless(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("GROUNDUP_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.expanduser", homeless)
        assert default_root().name == "groundup-cache"
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "GROUNDUP_CACHE=FOLDER" in message(Cache(root).get, "key", lambda folder: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert default_root().name == "groundup-cache"
