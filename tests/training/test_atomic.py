"""A checkpoint file is whole or absent, and data, never code."""

from __future__ import annotations

import os
import signal
import subprocess
import zipfile
from pathlib import Path

import pytest
import torch
from toy_run import in_child, train

from groundup.errors import UserError
from groundup.training.resume import AtomicIO


def state(value: float, numbers: int = 1000) -> dict:
    return {"state_dict": {"weight": torch.full((numbers,), value)}}


def test_replaced_checkpoint_lives_on_as_previous(tmp_path: Path) -> None:
    for value in (1.0, 2.0, 3.0):
        AtomicIO().save_checkpoint(state(value), tmp_path / "last.ckpt")
    read = {
        path.name: AtomicIO().load_checkpoint(path)["state_dict"]["weight"][0].item() for path in tmp_path.iterdir()
    }
    assert read == {"last.ckpt": 3.0, "previous.ckpt": 2.0}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
@pytest.mark.parametrize("moment", ["fsync", "replace", "link"])
def test_killed_while_saving_leaves_whole_files(tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (1.0, 2.0):
        AtomicIO().save_checkpoint(state(value), tmp_path / "last.ckpt")
    with monkeypatch.context() as patch:
        patch.setattr(os, moment, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        assert in_child(lambda: AtomicIO().save_checkpoint(state(3.0), tmp_path / "last.ckpt")) == -signal.SIGKILL
    named = {path.name for path in tmp_path.glob("*.ckpt")}
    assert named == {"last.ckpt", "previous.ckpt"}
    for path in tmp_path.glob("*.ckpt"):
        assert zipfile.ZipFile(path).testzip() is None
    assert AtomicIO().load_checkpoint(tmp_path / "last.ckpt")["state_dict"]["weight"][0] == 2.0


def test_leftovers_of_a_killed_save_are_swept_away(tmp_path: Path) -> None:
    train(tmp_path, 5)
    leftover = tmp_path / "checkpoints" / ".last.ckpt.1.tmp"
    leftover.write_bytes(b"half")
    train(tmp_path, 8, resume=True)
    assert not leftover.exists()


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 300 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("may not mount a tmpfs here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_full_disk_is_one_line_and_keeps_the_last_good_checkpoint(small_disk: Path) -> None:
    last = small_disk / "run" / "checkpoints" / "last.ckpt"
    AtomicIO().save_checkpoint(state(1.0), last)
    with pytest.raises(
        UserError, match=r"disk full while saving .*last\.ckpt .*bytes free.* groundup resume run="
    ) as error:
        AtomicIO().save_checkpoint(state(2.0, 200_000), last)
    assert "\n" not in str(error.value)
    assert [path.name for path in last.parent.iterdir()] == ["last.ckpt"]
    assert AtomicIO().load_checkpoint(last)["state_dict"]["weight"][0] == 1.0


class Malicious:
    def __reduce__(self):
        return os.system, ("touch PWNED",)


def test_malicious_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"state_dict": Malicious()}, tmp_path / "last.ckpt")
    with pytest.raises(UserError, match="refused to load"):
        AtomicIO().load_checkpoint(tmp_path / "last.ckpt", weights_only=False)
    assert not (tmp_path / "PWNED").exists()
