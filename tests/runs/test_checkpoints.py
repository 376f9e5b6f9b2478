"""A checkpoint is data: whatever is in it, loading it runs nothing."""

from __future__ import annotations

import copy
import os
import pickle
import random
import tracemalloc
import zipfile

import pytest
import torch
from seed import SEED

from groundup.errors import UserError
from groundup.runs.checkpoints import damage, load_checkpoint
from groundup.training.resume import AtomicIO, saved_step


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


def test_a_folder_may_have_any_name(tmp_path):
    folder = tmp_path / os.fsdecode(b"run \xff")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("file names here are UTF-8")
    torch.save({"a": torch.ones(2)}, folder / "a.ckpt")
    assert load_checkpoint(folder / "a.ckpt")["a"].tolist() == [1, 1]


def test_what_is_no_checkpoint_is_named(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.ckpt")
    with pytest.raises(UserError, match="holds a Tensor"):
        load_checkpoint(tmp_path / "tensor.ckpt")
    with pytest.raises(UserError, match="does not exist"):
        load_checkpoint(tmp_path / "none.ckpt")


class Asks:
    """Reduces to a call that torch.load allows and that asks for a gigabyte from a file of a few bytes."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def shared(depth):
    value = ["x"]
    for _ in range(depth):
        value = [value] * 9
    return value


def itself():
    value = []
    value.append(value)
    return value


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def test_a_value_larger_than_its_file_is_refused(tmp_path):
    tracemalloc.start()
    for number, value in enumerate((
        Asks(bytearray, 1 << 30), Asks(torch.FloatTensor, 1 << 28), Asks(torch.Tensor, 1 << 28),
        torch.zeros(1).expand(1 << 40), shared(12), itself(), nested(300), Asks(torch.nn.Parameter, 3),
    )):  # fmt: skip
        path = tmp_path / f"{number}.ckpt"
        torch.save({"state_dict": {}, "extra": value}, path)
        tracemalloc.reset_peak()
        with pytest.raises(UserError, match="refused to load"):
            load_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 50 << 20
    tracemalloc.stop()


def rewritten(path, **words):
    """The same archive, written anew with other options."""
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    with zipfile.ZipFile(path, "w", **words) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_checkpoint_is_not_inflated(method, tmp_path):
    path = tmp_path / "bomb.ckpt"
    torch.save({"state_dict": {"w": torch.zeros(1 << 22)}}, path)
    rewritten(path, compression=method)
    assert path.stat().st_size < 1 << 20
    for read in (load_checkpoint, saved_step, AtomicIO().load_checkpoint):
        with pytest.raises(UserError, match="it is compressed"):
            read(path)


def test_parts_that_lie_on_each_other_are_refused(tmp_path):
    path = tmp_path / "overlap.ckpt"
    torch.save({"state_dict": {f"w{n}": torch.zeros(1 << 16) for n in range(9)}}, path)
    with zipfile.ZipFile(path, "a") as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size)
        for n in range(20):
            twin = copy.copy(largest)
            twin.filename = f"{largest.filename}_{n}"
            archive.filelist.append(twin)
        archive._didModify = True
    with pytest.raises(UserError, match="larger than the whole"):
        load_checkpoint(path)


def test_a_pipe_in_place_of_a_checkpoint_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.ckpt")
    for read in (load_checkpoint, saved_step):
        with pytest.raises(UserError, match="a pipe"):
            read(tmp_path / "pipe.ckpt")


def test_what_optimizers_and_loops_keep_comes_back(tmp_path):
    content = {
        "state": {0: {"exp_avg": torch.ones(2, dtype=torch.bfloat16), "step": torch.tensor(3.0)}},
        "groups": [{"betas": (0.9, 0.95), "params": [0], "names": {"a", "b"}, "lr": 1e-3}] * 2,
        "view": torch.arange(10)[2:5], "half": torch.nn.Parameter(torch.ones(3)), "dtype": torch.float32,
        "size": torch.Size([2, 3]), "device": torch.device("cpu"), "bytes": b"abc", "big": 2**70, "inf": float("inf"),
    }  # fmt: skip
    torch.save(content, tmp_path / "good.ckpt")
    loaded = load_checkpoint(tmp_path / "good.ckpt")
    assert loaded["groups"] == content["groups"] and loaded["size"] == (2, 3) and loaded["bytes"] == b"abc"
    assert torch.equal(loaded["view"], torch.arange(2, 5)) and loaded["big"] == 2**70


def test_a_damaged_checkpoint_is_never_read_as_another(tmp_path):
    """Whatever is wrong with the file: it is found damaged, so that the one before is used, or its content is unharmed."""
    path, chance = tmp_path / "last.ckpt", random.Random(SEED)
    content = {"state_dict": {f"layer.{i}": torch.randn(9) for i in range(4)}, "global_step": 7}
    torch.save(content, path)
    whole = path.read_bytes()
    for number in range(400):
        changed, place = bytearray(whole), chance.randrange(len(whole))
        if number % 3 == 0:
            changed[place] ^= 1 << chance.randrange(8)
        elif number % 3 == 1:
            del changed[place:]
        else:
            changed[place : place + 16] = chance.randbytes(len(changed[place : place + 16]))
        path.write_bytes(changed)
        if damage(path) is None:
            found = load_checkpoint(path)
            assert found["global_step"] == 7
            assert all(torch.equal(value, found["state_dict"][name]) for name, value in content["state_dict"].items())
