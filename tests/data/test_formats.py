"""A new format of files is one new module of ``data/formats``: everything that reads files knows it, nothing is edited."""

import gzip
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from groundup.data import formats, precheck
from groundup.data.reading import Reading, all_formats, format_of, read
from groundup.data.sources.files import FILES, Files
from groundup.errors import UserError
from groundup.stages.predict import columns_of

MODULE = '''
"""Sentences in vertical text: a token a line, its tag in the last column, an empty line after a sentence."""

from groundup.data.formats.text import open_text

SUFFIXES = (".vert", ".vrt")
OPTIONS = ("encoding",)
COLUMNS = ("tokens", "tags")


def read(path, reading):
    rows = []
    with open_text(path, reading.encoding) as file:
        for number, line in enumerate([*file, ""], 1):
            if line.strip():
                rows.append(line.split())
            elif rows:
                yield f"{path} line {number - len(rows)}", {"tokens": [r[0] for r in rows], "tags": [r[-1] for r in rows]}
                rows = []
'''
TASK = """
class Tagging(Task):
    columns = ("tokens", "tags")
"""
TEXT = "EU NNP B-ORG\nrejects VBZ O\n\nWien NNP B-LOC\n"
ROWS = [{"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]}, {"tokens": ["Wien"], "tags": ["B-LOC"]}]
SCRIPT = """
import sys
import groundup.data.formats
groundup.data.formats.__path__.append("readers")
from groundup import cli
code = cli.run(["finetune", "data=files", "data.train=a.vert"])
print(code, len({"torch", "pyarrow", "datasets"} & sys.modules.keys()))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with files of a format whose module is in the package's path."""
    (tmp_path / "readers").mkdir()
    (tmp_path / "readers" / "vertical.py").write_text(MODULE)
    (tmp_path / "a.vert").write_text(TEXT)
    (tmp_path / "b.vrt.gz").write_bytes(gzip.compress(TEXT.encode()))
    monkeypatch.setattr(formats, "__path__", [*formats.__path__, str(tmp_path / "readers")])
    monkeypatch.chdir(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    if sys.modules.pop("groundup.data.formats.vertical", None):
        del formats.vertical


def test_files_of_the_new_format_are_read_packed_or_not(folder):
    for name in ("a.vert", "b.vrt.gz"):
        data = Files(train=name, tokens="tokens", tags="tags")
        assert list(data.rows("train")) == ROWS and data.fingerprint("train")
        assert read(Path(name), Reading()).send(None)[0] == f"{name} line 1"


def test_errors_list_the_new_format(folder):
    Path("a.xls").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"give one of \.conll .*\.txt \.vert \.vrt, also \.gz"):
        format_of(Path("a.xls"))
    with pytest.raises(UserError, match=r"data.encoding is for \.conll .*\.vert \.vrt files"):
        Files(train="a.parquet", encoding="gb18030")
    with pytest.raises(UserError, match=r"data.delimiter is for \.csv \.tsv files"):
        Files(train="a.vert", delimiter=";")
    (folder / "a.vert").write_bytes("酒店 O\n".encode("gb18030"))
    with pytest.raises(UserError, match=r"a\.vert: not UTF-8 at byte 0 .*data\.encoding=gb18030"):
        list(Files(train="a.vert", tokens="tokens").rows("train"))


def test_columns_are_found_before_torch_is_imported(folder, monkeypatch):
    (folder / "tasks").mkdir()
    (folder / "tasks" / "tagging.py").write_text(TASK)
    monkeypatch.setattr(precheck, "_PACKAGE", folder)
    data = {"_target_": FILES, "train": "a.vert", "validation": "b.vrt.gz"}
    told = precheck.check_data(
        plain := {"data": data, "task": {"_target_": "groundup.tasks.tagging.Tagging"}}, "finetune"
    )
    assert told == ["a.vert: tokens from column 'tokens', tags from column 'tags'"]
    assert (plain["data"]["tokens"], plain["data"]["tags"]) == ("tokens", "tags")
    (folder / "b.vrt.gz").write_bytes(b"not packed")
    with pytest.raises(UserError, match="is not packed, or damaged"):
        precheck.check_data(plain, "finetune")


def test_a_command_says_at_once_which_columns_there_are(folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, cwd=folder)
    assert done.stdout.split() == ["2", "0"], done.stderr
    assert "a.vert: no column 'text'; it has tokens, tags" in done.stderr


def test_predict_takes_the_columns_that_the_format_has(folder):
    trained = {"_target_": FILES, "tokens": "words", "tags": "names"}
    run = SimpleNamespace(reads=("tokens",), config=SimpleNamespace(data=trained))
    assert columns_of(Path("b.vrt.gz"), run, {"tokens": None}) == {"tokens": "tokens"}
    assert columns_of(Path("new.jsonl"), run, {"tokens": None}) == {"tokens": "words"}
    assert columns_of(Path("a.vert"), run, {"tokens": "tags"}) == {"tokens": "tags"}
    asked = {"input": "b.vrt.gz", "encoding": None, "delimiter": None, "columns": None}
    assert precheck.check_data(asked, "predict", {"data": trained}) == []


def test_every_suffix_belongs_to_one_format():
    modules = {id(module): module for module in all_formats().values()}.values()
    assert sorted(suffix for module in modules for suffix in module.SUFFIXES) == list(all_formats())
    assert {option for module in modules for option in module.OPTIONS} == set(vars(Reading()))


@pytest.mark.parametrize("document", ["README.md", "conf/data/files.yaml", "conf/predict.yaml"])
def test_the_formats_that_ship_are_named_where_files_are_asked_for(repository, document):
    text = (repository / document).read_text(encoding="utf-8")
    assert [suffix for suffix in all_formats() if not re.search(rf"\{suffix}\b", text)] == []
