"""One process writes a run folder at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from groundup.errors import UserError
from groundup.runs import lock
from groundup.runs.lock import check_unlocked, lives, locked, this_process

HOLD = """
import sys
from pathlib import Path
from groundup.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of ``tmp_path``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_held_folder_is_refused_until_it_is_free(tmp_path, holder):
    for refused in (lambda: locked(tmp_path).__enter__(), lambda: check_unlocked(tmp_path)):
        with pytest.raises(UserError, match=f"is being written by process {holder.pid}.*kill {holder.pid}"):
            refused()
    holder.communicate()
    check_unlocked(tmp_path)
    with locked(tmp_path):
        assert json.loads((tmp_path / lock.NAME).read_text()) == this_process()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_killed_process_is_taken_over_and_said(tmp_path, holder, caplog):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with caplog.at_level("INFO"), locked(tmp_path):
        assert caplog.messages == [f"took over the lock of process {holder.pid}, which is gone"]
        with pytest.raises(UserError):
            locked(tmp_path).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_another_process_has_by_now_is_not_the_owner(tmp_path):
    """Of two processes with one number the later is another one."""
    owner = {**this_process(), "born": "earlier"}
    assert lives(this_process()) and not lives(owner)
    (tmp_path / lock.NAME).write_text(json.dumps(owner))
    with locked(tmp_path):
        pass


def test_a_lock_of_another_machine_says_what_to_type(tmp_path):
    file = tmp_path / lock.NAME
    file.write_text(json.dumps({**this_process(), "host": "node17", "pid": 4}))
    with pytest.raises(UserError, match=f"locked by process 4 on node17. If that no longer runs: rm {file}"):
        locked(tmp_path).__enter__()
    assert file.exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"host": "a\\u001b[2J", "pid": 1}', '{"pid": "x"}', "0" * 9999, "[" * 4000]
)
def test_a_lock_that_is_none_is_not_believed(tmp_path, content):
    (tmp_path / lock.NAME).write_text(content)
    with pytest.raises(UserError, match=r"locked by another process\. If that no longer runs: rm"):
        locked(tmp_path).__enter__()


def test_a_link_or_a_pipe_in_the_place_of_the_lock_is_not_followed(tmp_path):
    target = tmp_path / "precious"
    (tmp_path / lock.NAME).symlink_to(target)
    with pytest.raises(UserError):
        locked(tmp_path).__enter__()
    assert not target.exists()
    (tmp_path / lock.NAME).unlink()
    os.mkfifo(tmp_path / lock.NAME)
    with pytest.raises(UserError):
        locked(tmp_path).__enter__()


@pytest.mark.parametrize("pid", [0, -1, -9, True, "1", 1.5, None, 2**70])
def test_nothing_is_asked_of_numbers_that_are_no_process(monkeypatch, pid):
    asked = []
    monkeypatch.setattr(os, "kill", lambda *arguments: asked.append(arguments) or (_ for _ in ()).throw(OverflowError))
    assert not lives({**this_process(), "pid": pid})
    assert asked in ([], [(2**70, 0)])
