"""A finished folder is complete; two processes may build one key at once."""

import errno
import multiprocessing
import os
import time

import pytest

from groundup.data.cache import Cache, default_root
from groundup.errors import UserError


def fill(folder):
    for part in range(4):
        (folder / f"{part}.txt").write_text(str(part))
        time.sleep(0.03)


def _race(root, barrier, results):
    def build(folder):
        barrier.wait(20)  # both have seen that there is nothing yet
        fill(folder)

    path = Cache(root).get("key", build)
    results.put((str(path), sorted(os.listdir(path))))


def test_built_once_and_then_found(tmp_path):
    calls = []
    cache = Cache(tmp_path / "deep" / "cache")
    for _ in range(2):
        path = cache.get("key", lambda folder: calls.append(fill(folder)))
    assert len(calls) == 1
    assert sorted(p.name for p in path.iterdir()) == ["0.txt", "1.txt", "2.txt", "3.txt"]


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "half").write_text("x")
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        Cache(tmp_path).get("key", fail)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_that_build_the_same_key_get_one_complete_folder(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_race, args=(tmp_path, barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
    assert found[0] == found[1] == (str(tmp_path / "key"), ["0.txt", "1.txt", "2.txt", "3.txt"])
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_killed_builder_is_not_taken_for_finished_and_is_swept_up(tmp_path):
    old, young = tmp_path / ".building-key-old", tmp_path / ".building-key-young"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (time.time() - 1e6,) * 2)
    assert (Cache(tmp_path).get("key", fill) / "3.txt").read_text() == "3"
    assert young.is_dir() and not old.exists()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_one_line(tmp_path, code):
    def full(folder):
        (folder / "half").write_text("x")
        raise OSError(code, os.strerror(code))

    with pytest.raises(UserError, match=r"no space left .* set GROUNDUP_CACHE=FOLDER"):
        Cache(tmp_path).get("key", full)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_cache_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((UserError, NotADirectoryError)):
        Cache(tmp_path / "file" / "cache").get("key", fill)


def test_key_depends_on_content_alone():
    assert Cache.key("a", {"x": 1, "y": [2]}) == Cache.key("a", {"y": [2], "x": 1})
    assert len({Cache.key("a", "b"), Cache.key("ab"), Cache.key(["a", "b"]), Cache.key("中")}) == 4


def test_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "mine"))
    assert default_root() == tmp_path / "mine"
    monkeypatch.delenv("GROUNDUP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "groundup"
