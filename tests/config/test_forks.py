"""Processes forked from a server: they begin with what it has imported, and with their own threads, log, group and end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from groundup.jobs.forks import Forks

TOLD = """
import json, os, signal, sys, time

def prepare(module):
    __import__(module)
    assert not os.environ.get("OWN")

def run(what, file=None):
    print("printed", what, flush=True)
    if what == "look":
        import torch
        before = torch.get_num_threads()
        torch.set_num_threads(3)
        (torch.ones(2000, 2000) @ torch.ones(2000, 2000)).sum()
        tasks = "/proc/self/task"
        seen = {"threads": before, "tasks": len(os.listdir(tasks)) if os.path.isdir(tasks) else 3, "own": os.environ["OWN"]}
        seen |= {"group": os.getpgid(0), "pid": os.getpid(), "cuda": torch.cuda.is_initialized()}
        open(file, "w").write(json.dumps(seen))
    if what == "exit":
        raise SystemExit(7)
    if what == "raise":
        raise ValueError("a bug")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    while what == "wait":
        time.sleep(0.02)
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("told")
    (folder / "told.py").write_text(TOLD)
    return folder


def server(module: Path, prepare: str = "told:prepare:json", **environment: str) -> Forks:
    path = os.pathsep.join([str(module), *sys.path])
    return Forks(prepare, "told:run", {**os.environ, "PYTHONPATH": path, **environment})


@pytest.fixture(scope="module")
def forks(module):
    forks = server(module)
    yield forks
    forks.close()


def test_a_fork_computes_with_the_threads_that_its_environment_says(module, tmp_path):
    forks = server(module, "told:prepare:torch", OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2")
    first = forks.start(["look", str(tmp_path / "0")], tmp_path / "log", {"OWN": "0"})
    second = forks.start(["look", str(tmp_path / "1")], tmp_path / "log", {"OWN": "1"})
    assert (first.wait(), second.wait()) == (0, 0), (tmp_path / "log").read_text()
    for number in "01":
        seen = json.loads((tmp_path / number).read_text())
        assert (seen["threads"], seen["own"], seen["group"], seen["cuda"]) == (2, number, seen["pid"], False)
        assert seen["tasks"] >= 3  # set_num_threads holds after the fork
    forks.close()


def test_the_end_of_a_fork_is_told_and_its_words_are_in_its_log(forks, tmp_path):
    children = {what: forks.start([what], tmp_path / what, {}) for what in ("other", "exit", "raise", "kill")}
    codes = {what: child.wait() for what, child in children.items()}
    assert codes == {"other": 0, "exit": 7, "raise": 1, "kill": -signal.SIGKILL}
    assert (tmp_path / "exit").read_text() == "printed exit\n"
    assert (tmp_path / "raise").read_text().endswith("ValueError: a bug\n")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    assert forks.start(["other"], tmp_path / "link", {}).wait() == 1 and not (tmp_path / "outside").exists()
    waiting = [forks.start(["wait"], tmp_path / "wait", {}) for _ in range(2)]
    waiting[0].terminate()
    assert waiting[0].wait() == -signal.SIGTERM and waiting[1].poll() is None
    waiting[1].terminate()


def test_the_forks_of_a_killed_server_are_ended_and_known_to_be(module, tmp_path):
    forks = server(module)
    child = forks.start(["wait"], tmp_path / "log", {})
    while child.pid is None:
        forks.listen(1)
    forks._server.kill()
    assert child.wait() == -signal.SIGKILL and forks.lost
    assert forks.start(["other"], tmp_path / "log", {}).wait() == -signal.SIGKILL
    wait_for_end(child.pid)


def test_forks_end_with_the_process_that_asked_for_them(module, tmp_path):
    asks = (
        "import os, sys, time; from pathlib import Path; from groundup.jobs.forks import Forks\n"
        "forks = Forks('told:prepare:json', 'told:run', os.environ)\n"
        "child = forks.start(['wait'], Path(sys.argv[1]), {}); forks.listen(60); print(child.pid, flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(module), *sys.path])}
    command = [sys.executable, "-c", asks, str(tmp_path / "log")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    pid = int(process.stdout.readline())
    process.kill()
    process.communicate()
    wait_for_end(pid)


def wait_for_end(pid: int) -> None:
    """Somebody else reaps it: gone, or a zombie."""
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
        if not state or state.startswith("Z"):
            return
        time.sleep(0.05)
    raise AssertionError(f"{pid} still runs")
