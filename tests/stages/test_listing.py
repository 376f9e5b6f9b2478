"""``groundup runs``: the list of all runs, its conditions, and the removal of those that failed."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from groundup import cli
from groundup.metrics.estimate import LOSS, Estimate
from groundup.runs.folder import RunFolder


def made(logs: Path, name: str, state: str = "done", started: float = 1e9, **more) -> RunFolder:
    """A run folder as a stage leaves it."""
    folder = RunFolder(logs / name)
    folder.path.mkdir(parents=True)
    model = more.pop("model", "cnn_encoder")
    folder.write_config({"seed": 1, "model": {"width": more.pop("width", 64)}, "task": {"crf": True}})
    folder.set_status(
        state, stage="finetune", choices={"data": more.pop("data", "trec6"), "model": model}, started=started, **more
    )
    return folder


def listed(capsys: pytest.CaptureFixture, logs: Path, *words: str, code: int = 0) -> str:
    assert cli.run(["runs", f"paths.logs={logs}", *words]) == code
    captured = capsys.readouterr()
    return captured.out if code == 0 else captured.err


def folders(text: str) -> list[str]:
    """The names of the runs in the order of the rows."""
    return [Path(line.split()[-1]).name for line in text.split("\n\n")[0].splitlines()[1:]]


def test_runs_are_listed_newest_first_with_state_score_and_size(tmp_path, capsys):
    made(tmp_path, "finetune/old", started=1e9)
    new = made(tmp_path, "finetune/new", "failed", started=2e9, why="no memory")
    new.write_json("metrics.json", {"validation/loss": Estimate(0.5, 0.4, 0.6, 10, metric=LOSS)})
    (new.path / "big.bin").write_bytes(b"x" * 2_500_000)
    text = listed(capsys, tmp_path)
    assert folders(text) == ["new", "old"]
    row = text.splitlines()[1]
    assert re.search(r"finetune +trec6 +cnn_encoder +failed +validation/loss 0\.5000 +2\.5 MB", row)
    assert "2 runs, 2.5 MB" in text


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["data=trec6"], ["c", "a"]),
        (["data=trec*"], ["c", "a"]),
        (["data=sst2", "state=failed"], ["b"]),
        (["model.width=128"], ["b", "a"]),
        (["task.crf=true"], ["c", "b", "a"]),
        (["seed=1", "most=1"], ["c"]),
        (["stage=finetune", "model=cnn_encoder"], ["c", "b", "a"]),
    ],
)
def test_conditions_hold_for_the_runs_that_are_shown(words, shown, tmp_path, capsys):
    made(tmp_path, "a", started=1, width=128)
    made(tmp_path, "b", "failed", started=2, width=128, data="sst2")
    made(tmp_path, "c", started=3)
    assert folders(listed(capsys, tmp_path, *words)) == shown


def test_a_condition_that_no_run_fulfils_says_what_there_is(tmp_path, capsys):
    made(tmp_path, "a")
    assert "no run has data=sst2; there is trec6" in listed(capsys, tmp_path, "data=sst2", code=2)
    assert "none says model.depth" in listed(capsys, tmp_path, "model.depth=2", code=2)


def test_runs_inside_of_runs_are_shown_when_asked_for(tmp_path, capsys):
    made(tmp_path, "whole", started=2)
    made(tmp_path, "whole/fold_1", started=1)
    assert folders(listed(capsys, tmp_path)) == ["whole"]
    assert folders(listed(capsys, tmp_path, "--inside")) == ["whole", "fold_1"]


def test_a_run_that_was_killed_is_interrupted(tmp_path, capsys):
    folder = made(tmp_path, "a", "running")
    status = folder.read_json("status.json")
    folder.write_json("status.json", status | {"pid": 2**22 + 1})  # above what Linux gives
    assert " interrupted " in listed(capsys, tmp_path)


def test_damaged_files_hide_no_other_run(tmp_path, capsys):
    made(tmp_path, "good", started=1)
    bad = made(tmp_path, "bad", started=2)
    bad.metrics_json.write_text('{"a": [1')
    bad.config_file.write_text("model: [\n")
    assert folders(listed(capsys, tmp_path)) == ["bad", "good"]
    assert folders(listed(capsys, tmp_path, "model.width=64")) == ["good"]


def test_only_failed_runs_are_removed_and_only_when_sure(tmp_path, capsys):
    kept = made(tmp_path, "finetune/x/kept")
    failed = made(tmp_path, "finetune/y/failed", "failed")
    assert "nothing was deleted" in listed(capsys, tmp_path, "--remove-failed", code=2)
    assert failed.path.is_dir()
    listed(capsys, tmp_path, "--remove-failed", "data=trec6", "--yes")
    assert kept.path.is_dir() and not (tmp_path / "finetune" / "y").exists()


def test_removing_does_not_follow_links(tmp_path, capsys):
    outside = tmp_path / "outside"
    made(tmp_path / "elsewhere", "run", "failed").path.rename(outside)
    failed = made(tmp_path / "logs", "failed", "failed")
    os.symlink(outside, failed.path / "inner")
    listed(capsys, tmp_path / "logs", "--remove-failed", "--yes")
    assert (outside / "status.json").is_file() and not failed.path.exists()


def test_no_run_is_a_line(tmp_path, capsys):
    assert "there is no run below" in listed(capsys, tmp_path, code=2)


def test_what_others_have_left_there_hides_no_run(tmp_path, capsys):
    made(tmp_path, "finetune/mine")
    for number, status in enumerate(({"started": 1e30, "state": {}}, {"stage": ["x"], "seconds": "x"}, [], None)):
        folder = tmp_path / f"theirs_{number}"
        folder.mkdir()
        (folder / "config.yaml").write_text("a: 1")
        (folder / "status.json").write_text(json.dumps(status))
    link = tmp_path / "link"
    link.mkdir()
    (link / "config.yaml").symlink_to(tmp_path / "nowhere")  # as in a run that is half deleted
    assert sorted(folders(listed(capsys, tmp_path))) == ["mine", "theirs_0", "theirs_1", "theirs_2", "theirs_3"]
    for word in ("state=done", "stage=finetune"):
        assert folders(listed(capsys, tmp_path, word)) == ["mine"]


def test_a_status_that_may_not_be_read_hides_no_run(tmp_path, capsys, monkeypatch):
    made(tmp_path, "mine")
    theirs = made(tmp_path, "theirs")
    read = RunFolder.read_json

    def refused(self, name, default=None):
        if self.path == theirs.path:
            raise PermissionError(13, "Permission denied", str(self.path / name))
        return read(self, name, default)

    monkeypatch.setattr(RunFolder, "read_json", refused)
    assert sorted(folders(listed(capsys, tmp_path))) == ["mine", "theirs"]
