"""What this machine does not have is said before there is a folder, and before torch is imported where it is not needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from groundup import cli
from groundup.config.check import check
from groundup.errors import UserError
from groundup.system import hardware
from groundup.system.hardware import accelerator_here, check_hardware


@pytest.fixture
def machine(monkeypatch):
    """A machine with two cores and the GPUs that are named."""

    def has(**gpus: int) -> None:
        monkeypatch.setattr(hardware, "gpus", lambda: gpus)
        monkeypatch.setattr(hardware, "cores", lambda: 2)

    return has


def refusal(**trainer) -> str | None:
    try:
        check_hardware({"trainer": {"accelerator": "cpu", "devices": 1, "precision": "32-true", **trainer}})
    except UserError as error:
        return str(error)
    return None


def test_a_gpu_that_is_not_there(machine):
    machine()
    there = "here, only cpu with 2 cores. Try trainer=cpu"
    assert refusal(accelerator="gpu") == f"trainer.accelerator=gpu: PyTorch finds no GPU {there}"
    assert refusal(accelerator="mps") == f"trainer.accelerator=mps: PyTorch finds no GPU of Apple {there}"
    assert refusal(accelerator="auto") is None
    machine(cuda=1)
    assert refusal(accelerator="gpu") is refusal(accelerator="cuda", precision="16-mixed") is None
    assert "only cpu with 2 cores, cuda. Try" in str(refusal(accelerator="mps"))


def test_stages_without_a_trainer_are_told_their_own_key(machine):
    machine()
    with pytest.raises(UserError, match=r"^accelerator=gpu: .* Try accelerator=cpu$"):
        check_hardware({"accelerator": "gpu", "precision": "32-true"})
    with pytest.raises(UserError, match=r"^precision=16-mixed needs a GPU"):
        check_hardware({"accelerator": "auto", "precision": "16-mixed"})
    check_hardware({"run": "x"})


def test_precisions_by_the_names_that_people_know(machine):
    machine(cuda=1)
    names = "32-true, bf16-mixed, 16-mixed, bf16-true, 16-true, 64-true"
    said = f"trainer.precision=fp16: must be one of {names}. Try trainer.precision=16-mixed"
    assert refusal(accelerator="gpu", precision="fp16") == said
    assert str(refusal(precision="float32")).endswith("Try trainer.precision=32-true")
    assert refusal(precision="int8") == f"trainer.precision=int8: must be one of {names}"
    assert [refusal(precision=name) for name in ("32", 32, 64, "bf16", "bf16-mixed", None)] == [None] * 6


@pytest.mark.parametrize(
    ("accelerator", "precision"), [("cpu", "16-mixed"), ("cpu", 16), ("cpu", "fp16"), ("auto", "16-mixed")]
)
def test_half_precision_needs_a_gpu(machine, accelerator, precision):
    machine()
    said = f"trainer.precision={precision} needs a GPU, and this is a CPU. Try trainer.precision=bf16-mixed, or "
    assert str(refusal(accelerator=accelerator, precision=precision)).startswith(said)


def test_amounts_that_bring_a_machine_down_are_refused(machine):
    machine()
    assert refusal(devices=16) is None
    assert refusal(devices=1000) == "trainer.devices=1000: at most 16 on 2 cores. Try trainer.devices=2"
    with pytest.raises(UserError, match="num_workers = 1000000: must be at most 256"):
        check({"num_workers": 10**6})
    with pytest.raises(UserError, match="beam_size = 10000000: must be at most 200"):
        check({"decoding": {"_target_": "groundup.decoding.beam.Beam", "beam_size": 10**7}})


def test_devices_that_are_not_there(machine):
    machine(cuda=2)
    fine = [1, 2, "2", -1, "-1", "auto", [0, 1], [1], "0,1"]
    assert [refusal(accelerator="gpu", devices=devices) for devices in fine] == [None] * len(fine)
    assert refusal(accelerator="gpu", devices=8) == "trainer.devices=8: there are 2 GPUs here. Try trainer.devices=auto"
    assert "numbered from 0. Try" in str(refusal(accelerator="gpu", devices=[2]))
    assert "must be a number of GPUs" in str(refusal(accelerator="gpu", devices="two"))
    assert [refusal(devices=devices) for devices in (1, 3, "2", "auto")] == [None] * 4
    for devices in (0, -1, [0, 1], "all"):
        assert "on a CPU it is the number of processes. Try trainer.devices=1" in str(refusal(devices=devices))


def test_parameters_are_spread_over_a_plain_number_of_gpus(machine):
    machine(cuda=2)
    fsdp = {"data_parallel_size": "auto"}
    said = "trainer.devices=auto: trainer=fsdp needs a plain number. Try trainer.devices=2"
    assert refusal(accelerator="gpu", devices="auto", strategy=fsdp) == said
    assert refusal(accelerator="gpu", devices=2, strategy={"data_parallel_size": 2}) is None


def test_the_name_of_an_accelerator_that_is_here(machine):
    machine(cuda=2)
    assert [accelerator_here(name) for name in ("cpu", "gpu", "auto", "mps")] == ["cpu", "cuda", "cuda", None]
    machine()
    assert [accelerator_here(name) for name in ("auto", "gpu")] == ["cpu", None]


def test_said_before_there_is_a_folder(machine, tmp_path, capsys):
    machine()
    for word in ("trainer=gpu", "trainer=mps", "trainer.precision=16-mixed", "trainer.devices=0"):
        assert cli.run(["pretrain", word, f"hydra.run.dir={tmp_path / 'run'}"]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not (tmp_path / "run").exists()


def test_a_wrong_precision_is_said_without_torch():
    code = """
import sys
from groundup.jobs.preflight import preflight
try:
    preflight("pretrain", {"trainer": {"accelerator": "cpu", "precision": "fp16"}}, [], {})
except Exception as error:
    assert "needs a GPU" in str(error), error
    sys.exit("torch" in sys.modules)
sys.exit(2)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
