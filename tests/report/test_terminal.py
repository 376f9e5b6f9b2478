"""What others wrote is shown, not obeyed, by a terminal."""

from __future__ import annotations

import logging

from groundup.errors import UserError
from groundup.jobs.failure import report_failure
from groundup.jobs.logs import log_to_run
from groundup.report.table import show_table
from groundup.system.streams import visible

EVIL = "run\x1b]0;owned\x07\x1b[2K\r\x9b31m"


def test_control_characters_are_written_out():
    assert visible(EVIL) == r"run\x1b]0;owned\x07\x1b[2K\x0d\x9b31m"
    for harmless in ("two\nlines\tand\r\nso on", "你好, عربي, café 🙂"):
        assert visible(harmless) == harmless


def test_labels_errors_and_log_lines_cannot_steer_the_terminal(tmp_path, capsys):
    show_table({EVIL: {f"test/{EVIL}": {"value": 0.5, "ci95": [None, None], "n": 1}}})
    report_failure(UserError(f"{EVIL} is no run"), "evaluate", None, False)
    with log_to_run(tmp_path / "run.log"):
        logging.getLogger("groundup").warning("%s", EVIL)
    captured = capsys.readouterr()
    said = captured.out + captured.err + (tmp_path / "run.log").read_text()
    assert said.count("x1b]0;owned") >= 4
    assert not {"\x1b", "\x07", "\x9b"} & set(said)
