from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from groundup.runs import provenance
from groundup.runs.folder import RunFolder
from groundup.runs.provenance import collect


def git(folder, *arguments):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"]
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A git checkout that pretends to be this package."""
    code = tmp_path / "code"
    (code / "runs").mkdir(parents=True)
    (code / "__init__.py").write_text("a = 1\n")
    git(code, "init", "-q")
    git(code, "add", ".")
    git(code, "commit", "-qm", "first")
    monkeypatch.setattr(provenance, "__file__", str(code / "runs" / "provenance.py"))
    return code


def test_a_clean_checkout_is_its_commit(tmp_path, checkout):
    record = collect(RunFolder(tmp_path / "run"))
    assert record["git"] == {"sha": git(checkout, "rev-parse", "HEAD").strip(), "dirty": False}
    assert not (tmp_path / "run" / "provenance.diff").exists()


def test_uncommitted_changes_are_kept_as_a_diff_that_applies(tmp_path, checkout, monkeypatch):
    (checkout / "__init__.py").write_text("a = 2\n")
    (checkout / "new.py").write_text("")
    run = RunFolder(tmp_path / "run")
    assert collect(run)["git"]["dirty"] is True
    diff = (run.path / "provenance.diff").read_text()
    assert "+a = 2" in diff
    assert "# not tracked: new.py" in diff
    git(checkout, "checkout", "-q", "__init__.py")
    git(checkout, "apply", str(run.path / "provenance.diff"))
    assert (checkout / "__init__.py").read_text() == "a = 2\n"


def test_a_diff_has_no_secrets_and_a_limit(tmp_path, checkout, monkeypatch):
    monkeypatch.setenv("SERVICE_API_KEY", "the-key-of-the-service")
    (checkout / "__init__.py").write_text("key = 'the-key-of-the-service'\n" + "x = 'long line'\n" * 100_000)
    run = RunFolder(tmp_path / "run")
    collect(run)
    diff = (run.path / "provenance.diff").read_text()
    assert "the-key-of-the-service" not in diff
    assert len(diff) < 1_000_100
    assert diff.endswith("[cut here: more than 1 MB]\n")


def test_an_installed_copy_inside_somebody_elses_repository_is_not_that_repository(tmp_path, checkout):
    git(checkout, "rm", "-q", "--cached", "__init__.py")
    assert collect(RunFolder(tmp_path / "run"))["git"] is None


def test_git_may_be_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    record = collect(RunFolder(tmp_path / "run"))
    assert record["git"] is None
    assert record["packages"]["python"]


def test_facts_machine_and_command_are_saved(tmp_path):
    run = RunFolder(tmp_path)
    run.write_command(["groundup", "pretrain", "seed=1"])
    collect(run, data={"train": "abc"}, tokenizer="def", parameters=12)
    record = run.read_json("provenance.json")
    assert (record["data"], record["tokenizer"], record["parameters"]) == ({"train": "abc"}, "def", 12)
    assert record["command"] == "groundup pretrain seed=1"
    assert record["packages"]["hydra-core"].startswith("1.")
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["memory_gb"] > 0.1


def test_a_resumed_run_keeps_where_it_came_from(tmp_path):
    run = RunFolder(tmp_path)
    for attempt in range(3):
        collect(run, attempt=attempt)
    record = run.read_json("provenance.json")
    assert record["attempt"] == 2
    assert [earlier["attempt"] for earlier in record["earlier"]] == [0, 1]
    assert not any("earlier" in earlier for earlier in record["earlier"])


def test_torch_is_not_loaded_for_it(tmp_path):
    code = f"""
import sys
from groundup.runs.folder import RunFolder
from groundup.runs.provenance import collect
collect(RunFolder({str(tmp_path)!r}))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert shutil.which("git") is None or (tmp_path / "provenance.json").exists()
