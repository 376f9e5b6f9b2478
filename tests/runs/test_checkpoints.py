"""A checkpoint is data: whatever is in it, loading it runs nothing."""

from __future__ import annotations

import os
import pickle
import zipfile

import pytest
import torch

from groundup.errors import UserError
from groundup.runs.checkpoints import load_checkpoint


class Payload:
    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return os.mkdir, (self.marker,)


def torch_zip(path, payload):
    torch.save({"state_dict": {"w": torch.zeros(2)}, "extra": payload}, path)


def legacy(path, payload):
    torch.save({"extra": payload}, path, _use_new_zipfile_serialization=False)


def bare_pickle(path, payload):
    path.write_bytes(pickle.dumps(payload, protocol=2))


def pickle_in_a_zip(path, payload):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(payload, protocol=2))
        archive.writestr("archive/version", "3")


@pytest.mark.parametrize("force", ["0", "1"])
@pytest.mark.parametrize("write", [torch_zip, legacy, bare_pickle, pickle_in_a_zip])
def test_a_malicious_checkpoint_is_refused_in_one_line(tmp_path, monkeypatch, write, force):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", force)
    path, marker = tmp_path / "evil.ckpt", tmp_path / "payload_ran"
    write(path, Payload(marker))
    with pytest.raises(UserError) as error:
        load_checkpoint(path)
    assert not marker.exists()
    assert "\n" not in str(error.value)
    assert "evil.ckpt" in str(error.value)


def test_the_payload_of_these_tests_is_live(tmp_path):
    torch_zip(tmp_path / "evil.ckpt", Payload(tmp_path / "payload_ran"))
    torch.load(tmp_path / "evil.ckpt", weights_only=False)
    assert (tmp_path / "payload_ran").exists()


def test_the_refusal_says_what_was_inside(tmp_path):
    torch_zip(tmp_path / "evil.ckpt", Payload(tmp_path / "x"))
    with pytest.raises(UserError, match=r"refused .*mkdir"):
        load_checkpoint(tmp_path / "evil.ckpt")


def test_tensors_and_plain_values_come_back(tmp_path):
    content = {"state_dict": {"w": torch.arange(6).view(2, 3)}, "step": 7, "loops": {"a": [1.5, None, True, "x"]}}
    torch.save(content, tmp_path / "good.ckpt")
    loaded = load_checkpoint(tmp_path / "good.ckpt")
    assert torch.equal(loaded["state_dict"].pop("w"), content["state_dict"].pop("w"))
    assert loaded == content


def test_what_is_no_checkpoint_is_named(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.ckpt")
    with pytest.raises(UserError, match="holds a Tensor"):
        load_checkpoint(tmp_path / "tensor.ckpt")
    with pytest.raises(UserError, match="does not exist"):
        load_checkpoint(tmp_path / "none.ckpt")
