"""Files that ``predict`` and ``generate`` write line by line: whole or not there, and nothing left of a killed command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from groundup.stages.outputs import lines_of

KILLED = """
import os, signal, sys
from pathlib import Path
from groundup.stages.outputs import lines_of
with lines_of(Path(sys.argv[1])) as write:
    write("half of it")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs locks of files")
def test_what_a_killed_command_left_goes_with_the_next_one_and_what_is_in_use_stays(tmp_path: Path) -> None:
    output = tmp_path / "out[1].jsonl"
    assert subprocess.run([sys.executable, "-c", KILLED, str(output)]).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    digits = left.name.split(".")[-2]
    others = [f".out[1].jsonl.{digits[:-1]}.tmp", f".out.jsonl.{digits}.tmp", f"out[1].jsonl.{digits}.tmp", "b.jsonl"]
    for name in others:
        (tmp_path / name).write_text("not ours")
    (tmp_path / f".out[1].jsonl.{'0' * 16}.tmp").symlink_to(tmp_path / "b.jsonl")
    with lines_of(output) as write:
        assert not left.exists()
        write("one")
        with lines_of(output) as write_too:  # of the two the last has its file
            write_too("two")
        assert output.read_text() == "two\n"
    assert output.read_text() == "one\n"
    assert {path.name for path in tmp_path.iterdir() if not path.is_symlink()} == {output.name, *others}
    assert (tmp_path / "b.jsonl").read_text() == "not ours"
