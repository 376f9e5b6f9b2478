"""The command among other commands: readers that leave, full disks, closed streams, odd encodings."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from groundup.system.cache import default_root

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")


def start(*words: str, **options) -> subprocess.Popen:
    command = [sys.executable, "-m", "groundup", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, encoding="utf-8", **options)


def generate(run: Path, *words: str) -> list[str]:
    return ["generate", f"run={run}", "prompt=你好 the sea", "decoding.max_new_tokens=5", "threads=1", *words]


def test_a_reader_that_leaves_ends_a_text_without_a_word(language_model):
    process = start(*generate(language_model, "samples=100000"), stdout=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 141
    assert process.stderr.read() == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_behind_the_output_is_one_line(language_model):
    with open("/dev/full", "w") as full:
        process = start(*generate(language_model), stdout=full)
        told = process.stderr.read()
    assert process.wait(timeout=120) == 1
    assert told == "error: standard output: No space left on device\n"


def test_a_terminal_without_chinese_is_given_its_codes(language_model):
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = start(*generate(language_model), stdout=subprocess.PIPE, env=env)
    said, told = process.communicate(timeout=120)
    assert process.returncode == 0 and told == "" and said.startswith(r"\u4f60\u597d the sea")


def test_a_closed_output_is_not_taken_by_the_next_file(language_model, tmp_path):
    words = generate(language_model, f"output={tmp_path / 'out.jsonl'}")
    process = start(*words, preexec_fn=lambda: os.close(1))
    assert process.communicate(timeout=120)[1] == "" and process.returncode == 0
    (row,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert row["text"].startswith("你好 the sea")


def test_without_a_home_the_cache_is_temporary(monkeypatch):
    def nobody(user):
        raise KeyError(user)

    for name in ("GROUNDUP_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert default_root().is_relative_to(tempfile.gettempdir())
