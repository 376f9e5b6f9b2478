"""What documents and comments name is there: files, choices, keys and whole command lines."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from groundup.config.compose import compose
from groundup.config.files import STAGES, conf_dir
from groundup.config.quoting import quoted
from groundup.jobs.words import AS_KEYS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", ROOT / ".env.example", *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
SHIPPED = sorted(ROOT.glob("conf/**/*.yaml"))
PATH = re.compile(r"(?<![\w/.=-])(?:conf|src|docs|benchmarks|notebooks|tests)/[\w./-]*\w")
KEY = re.compile(r"`([a-z]\w*(?:\.\w+)*)=[^`=]*`")
COMMAND = re.compile(rf"(?:^|^time |^#   |`|[:;] )groundup ((?:{'|'.join(STAGES)}) (?:[^`\n\\]|\\\n)*)", re.MULTILINE)


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def commands() -> list[str]:
    """Command lines in documents and in comments of configurations, without the word ``groundup``."""
    found = {line.replace("\\\n", "") for path in [*DOCUMENTS, *SHIPPED] for line in COMMAND.findall(text_of(path))}
    plain = {shlex.join(shlex.split(re.split(r" \(|: ", line)[0], comments=True)) for line in found}
    return sorted(line for line in plain if not line.startswith("resume"))  # it takes a run alone


@pytest.fixture(autouse=True)
def shipped(monkeypatch):
    monkeypatch.delenv("GROUNDUP_CONF", raising=False)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(document):
    named = {path for path in PATH.findall(text_of(document)) if "NAME" not in path}
    assert not [path for path in sorted(named) if not (ROOT / path).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_keys_exist(document):
    known = {key for path in SHIPPED for key in re.findall(r"^\s*(?:- )?([\w@]+):", text_of(path), re.MULTILINE)}
    known |= {path.name for path in conf_dir().iterdir() if path.is_dir()}  # groups
    known |= {"launcher", "sweep"}  # our words for two of Hydra's own
    named = {key for key in KEY.findall(text_of(document)) if not key.isupper()}
    assert not [key for key in sorted(named) if key.rpartition(".")[2] not in known]


def test_choices_in_the_table_of_the_readme_exist():
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", text_of(ROOT / "README.md"), re.MULTILINE)
    named = {group: re.findall(r"`(\w+)`", cells.partition(";")[0]) for group, cells in rows}
    named = {group: choices for group, choices in named.items() if (conf_dir() / group).is_dir()}
    assert len(named) > 10
    files = [conf_dir() / group / f"{choice}.yaml" for group, choices in named.items() for choice in choices]
    assert not [file for file in files if not file.is_file()]


@pytest.mark.parametrize("line", commands())
def test_command_lines_compose(line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stage, *words = shlex.split(line)
    words = AS_KEYS.get(stage, list)(words)
    if "-m" in words:  # a sweep: the first value of each
        words = quoted([word.partition(",")[0] for word in words if word != "-m" and "(" not in word], sweep=True)
    assert compose(stage, words)
