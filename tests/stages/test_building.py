"""A task is built only from what a config may name."""

from __future__ import annotations

import sys

import pytest

from groundup.config.tree import Config
from groundup.data.facts import Facts
from groundup.errors import UserError
from groundup.stages.build import build_task, prepare_process


def test_a_foreign_task_is_refused_before_it_is_imported(write_module):
    write_module("stranger", "class Task: form = 'packed'\n")
    cfg = Config({"seed": 1, "task": {"_target_": "stranger.Task"}})
    with pytest.raises(UserError, match="GROUNDUP_ALLOW=stranger"):
        build_task(cfg, Facts(9, 0, 1, 2, 3, 4, 5, 6), None)
    assert "stranger" not in sys.modules


@pytest.mark.parametrize(("threads", "processes", "expected"), [(None, 1, 6), (None, 2, 3), (None, 8, 1), (2, 8, 2)])
def test_processes_of_one_machine_share_its_cores(threads, processes, expected, monkeypatch):
    chosen = []
    monkeypatch.setattr("groundup.stages.build.cores", lambda: 6)
    monkeypatch.setattr("torch.set_num_threads", chosen.append)
    assert [prepare_process(threads, processes)] == chosen == [expected]
