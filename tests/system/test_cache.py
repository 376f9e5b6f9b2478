"""A finished folder is complete; two processes may build one key at once."""

import errno
import multiprocessing
import os
import time

import pytest

from groundup.errors import UserError
from groundup.system import cache as cache_module
from groundup.system.cache import Cache, default_root


def fill(folder):
    for part in range(4):
        (folder / f"{part}.txt").write_text(str(part))
        time.sleep(0.03)


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != "checksums.json")


def _race(root, barrier, results):
    def build(folder):
        barrier.wait(20)  # both have seen that there is nothing yet
        fill(folder)

    path = Cache(root).get("key", build)
    results.put((str(path), names(path)))


def test_built_once_and_then_found(tmp_path):
    calls = []
    cache = Cache(tmp_path / "deep" / "cache")
    for _ in range(2):
        path = cache.get("key", lambda folder: calls.append(fill(folder)))
    assert len(calls) == 1
    assert names(path) == ["0.txt", "1.txt", "2.txt", "3.txt"]


def test_a_failed_build_leaves_nothing(tmp_path):
    def fail(folder):
        (folder / "half").write_text("x")
        raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        Cache(tmp_path).get("key", fail)
    assert list(tmp_path.iterdir()) == []


def race_for_the_key(root):
    """Two processes ask for one key at once; both must get the same complete folder."""
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [context.Process(target=_race, args=(root, barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join()
    assert found[0] == found[1] == (str(root / "key"), ["0.txt", "1.txt", "2.txt", "3.txt"])


def test_two_processes_that_build_the_same_key_get_one_complete_folder(tmp_path):
    race_for_the_key(tmp_path)
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
    for root in (tmp_path / "file", tmp_path / "file" / "cache"):
        with pytest.raises(UserError, match=r"cannot write to the cache .* set GROUNDUP_CACHE=FOLDER"):
            Cache(root).get("key", fill)


DAMAGE = {
    "a byte": lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "the half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "more": lambda path: path.write_bytes(path.read_bytes() * 2),
    "gone": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("file", ["2.txt", "checksums.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_what_was_damaged_is_said_and_built_anew(tmp_path, caplog, file, damage):
    cache, whole = Cache(tmp_path), {f"{part}.txt": str(part) for part in range(4)}
    path = cache.get("key", fill)
    DAMAGE[damage](path / file)
    again = cache.get("key", fill)
    assert {name: (again / name).read_text() for name in names(again)} == whole
    assert "is damaged" in caplog.text and "built anew" in caplog.text
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    cache.get("key", lambda folder: pytest.fail("built what was whole"))


def test_two_processes_that_find_it_damaged_get_one_complete_folder(tmp_path):
    (Cache(tmp_path).get("key", fill) / "2.txt").write_text("x")
    race_for_the_key(tmp_path)
    assert (tmp_path / "key" / "2.txt").read_text() == "2"


def test_a_whole_folder_that_another_process_put_there_stays(tmp_path):
    cache = Cache(tmp_path)
    path = cache.get("key", fill)
    cache._discard(path)  # this one saw the damaged folder that stood there before
    assert cache.get("key", lambda folder: pytest.fail("built what was whole")) == path


@pytest.mark.parametrize(
    "edited", ["clean.py", "files.py", "reading.py", "parquet.py", "roles.py", "rows.py", "encoding.py", "learn.py"]
)
def test_an_edit_of_the_code_that_makes_ids_changes_the_key(monkeypatch, edited):
    digest = cache_module._digest
    before = cache_module.code_version(object())
    cache_module._own_code.cache_clear()
    assert cache_module.code_version(object()) == before
    cache_module._own_code.cache_clear()
    monkeypatch.setattr(cache_module, "_digest", lambda path: digest(path) + "x" * (path.name == edited))
    assert cache_module.code_version(object()) != before
    cache_module._own_code.cache_clear()


def test_key_depends_on_content_alone():
    assert Cache.key("a", {"x": 1, "y": [2]}) == Cache.key("a", {"y": [2], "x": 1})
    assert len({Cache.key("a", "b"), Cache.key("ab"), Cache.key(["a", "b"]), Cache.key("中")}) == 4


def test_root_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("GROUNDUP_CACHE", str(tmp_path / "mine"))
    assert default_root() == tmp_path / "mine"
    monkeypatch.delenv("GROUNDUP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_root() == tmp_path / "groundup"
