"""``groundup compress``: what comes out is a run like any other, beside the one that it was made of."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from groundup import cli
from groundup.config.tree import Config
from groundup.runs.checkpoints import load_checkpoint
from groundup.runs.folder import RunFolder
from groundup.tasks.base import Task


@pytest.fixture(scope="module")
def quantized(groundup, finetuned):
    return groundup("compress", f"run={finetuned}", "method=quantize", "threads=1")


def test_a_quantized_run_has_its_origin_beside_it(quantized, finetuned, read_json):
    before, after = read_json(quantized / "beside.json")["rows"]
    assert before["path"] == str(finetuned) and after["path"] == str(quantized)
    assert before["test/accuracy"] == read_json(finetuned / "metrics.json")["test/accuracy"]
    assert after["test/accuracy"] == read_json(quantized / "metrics.json")["test/accuracy"]
    assert after["test/accuracy"]["value"] >= before["test/accuracy"]["value"] - 0.05
    assert after["bytes"] < before["bytes"] and after["parameters"] == before["parameters"]
    assert "Beside the run it came from" in (quantized / "report.html").read_text(encoding="utf-8")
    shown = (quantized / "sections.json").read_text(encoding="utf-8")
    assert f"The run: {os.path.relpath(finetuned)}." in shown  # and no place on this machine's disk


def test_it_keeps_which_rows_it_was_made_and_scored_on(quantized, finetuned, read_json):
    before, after = (read_json(run / "provenance.json")["data"] for run in (finetuned, quantized))
    assert {split: about["fingerprint"] for split, about in after.items()} == {
        split: about["fingerprint"] for split, about in before.items()
    }


def test_its_checkpoint_holds_tensors_and_plain_values_and_its_linear_maps_are_small(quantized, finetuned):
    before, after = (load_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"] for run in (finetuned, quantized))
    small = [name for name, value in after.items() if value.dtype == torch.int8]
    assert small and all(f"{name.removesuffix('weight')}scale" in after for name in small)
    held = sum(after[name].nbytes + after[f"{name.removesuffix('weight')}scale"].nbytes for name in small)
    assert held <= 0.4 * sum(before[name].nbytes for name in small)


def test_a_quantized_run_is_evaluated_and_predicts_like_others(quantized, groundup, read_json, reviews, tmp_path):
    again = groundup("evaluate", f"run={quantized}", "threads=1", "explain=1")
    found, known = (read_json(folder / "metrics.json")["test/accuracy"] for folder in (again, quantized))
    assert found == known
    out = tmp_path / "out.jsonl"
    groundup(
        "predict", f"run={quantized}", f"input={reviews / 'test.csv'}", f"output={out}", "text=review", "threads=1"
    )
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["predicted"] for row in rows] == [row["predicted"] for row in read_predictions(quantized)]


def test_what_cannot_be_quantized_is_refused_in_one_line(quantized, groundup, language_model, data_overrides, capsys):
    def refused(*words: str) -> str:
        groundup(*words, code=2)
        return capsys.readouterr().err.strip().splitlines()[-1]

    assert "quantized already" in refused("compress", f"run={quantized}", "method=quantize")
    assert "recurrent layers" in refused("compress", f"run={language_model}", "method=quantize")
    words = [*data_overrides, "data.label=subject", "wandb.mode=disabled", f"init_from={quantized}"]
    assert "not trained" in refused("finetune", *words)


def read_predictions(run):
    return [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def pruned(groundup, finetuned):
    return groundup("compress", f"run={finetuned}", "method=prune", "amount=0.5", "recover=3", "threads=1")


def test_a_pruned_run_has_smaller_matrices_and_describes_them(pruned, finetuned, groundup, read_json):
    before, after = (load_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"] for run in (finetuned, pruned))
    for name in ("attention.out", "feed_forward.down"):
        one, other = (side[f"model.blocks.0.{name}.weight"].shape for side in (before, after))
        assert other == (one[0], one[1] // 2)
    assert after["model.embedding.weight"].shape == before["model.embedding.weight"].shape
    again = groundup("evaluate", f"run={pruned}", "threads=1")
    assert read_json(again / "metrics.json")["test/accuracy"] == read_json(pruned / "metrics.json")["test/accuracy"]
    rows = read_json(pruned / "beside.json")["rows"]
    assert [row["path"] for row in rows] == [str(finetuned), str(pruned)]
    assert rows[1]["parameters"] < rows[0]["parameters"] and rows[1]["bytes"] < rows[0]["bytes"]


def test_a_pruned_run_can_be_trained_on_and_quantized(pruned, groundup, data_overrides, read_json):
    words = [*data_overrides, "data.label=subject", "wandb.mode=disabled", "threads=1", "budget.steps=1"]
    child = groundup("finetune", *words, f"init_from={pruned}")
    assert (child / "metrics.json").exists()
    both = groundup("compress", f"run={pruned}", "method=quantize", "threads=1")
    assert (both / "beside.json").exists()


def test_a_recovery_that_is_stopped_goes_on_to_the_same_run(
    pruned, finetuned, tmp_path, monkeypatch, capsys, read_json
):
    command = ["compress", f"run={finetuned}", "method=prune", "amount=0.5", "recover=3", "threads=1"]
    with monkeypatch.context() as patch:
        patch.setattr(Task, "training_step", told_to_end(Task.training_step, 2))
        with pytest.raises(SystemExit) as stop:
            cli.run([*command, f"hydra.run.dir={tmp_path / 'run'}"])
    assert stop.value.code == 75 and "Go on with: groundup resume run=" in capsys.readouterr().err
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 2
    moved = Path(shutil.move(tmp_path / "run", tmp_path / "moved"))
    begun = Path(shutil.copytree(moved, tmp_path / "begun"))
    (begun / "checkpoints" / "last.ckpt").unlink()  # as if it had been killed before it was saved
    for run in (moved, begun):
        assert cli.run(["resume", f"run={run}"]) == 0
        assert "the saved value is used" not in capsys.readouterr().err  # nothing differs today
        for name in ("best.ckpt", "last.ckpt"):
            ours, theirs = (load_checkpoint(one / "checkpoints" / name)["state_dict"] for one in (run, pruned))
            assert all(torch.equal(value, ours[key]) for key, value in theirs.items())
        assert read_json(run / "metrics.json") == read_json(pruned / "metrics.json")
        assert [row["path"] for row in read_json(run / "beside.json")["rows"]] == [str(finetuned), str(run)]


def told_to_end(real, step):
    def training_step(self, *batch):
        if self.trainer.global_step == step - 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return real(self, *batch)

    return training_step


def test_a_run_that_was_stopped_while_it_was_made_smaller_is_made_again(quantized, tmp_path, read_json):
    run = Path(shutil.copytree(quantized, tmp_path / "run"))
    (run / "metrics.json").unlink()
    RunFolder(run).set_status("interrupted", "SIGTERM")
    assert cli.run(["resume", f"run={run}"]) == 0
    assert read_json(run / "metrics.json") == read_json(quantized / "metrics.json")
    assert RunFolder(run).status()["state"] == "done"


def test_single_weights_that_were_pruned_are_zero_after_recovery_too(finetuned, groundup, read_json):
    run = groundup(
        "compress", f"run={finetuned}", "method=prune", "structured=false", "amount=0.7", "recover=3", "threads=1"
    )
    held = load_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]
    matrices = [value for name, value in held.items() if name.startswith("model.blocks.") and value.ndim > 1]
    zeros = sum(int((value == 0).sum()) for value in matrices) / sum(value.numel() for value in matrices)
    assert zeros == pytest.approx(0.7, abs=0.01)
    assert read_json(run / "beside.json")["rows"][1]["zeros"] == pytest.approx(zeros)


def test_only_what_was_pruned_stays_zero_in_an_average_and_after_a_resume_too(finetuned, tmp_path, monkeypatch):
    origin = RunFolder(shutil.copytree(finetuned, tmp_path / "origin"))
    config = Config(origin.read_config())
    config.l1, config.callbacks = 1.0, {"ema": {"_target_": "groundup.training.ema.EMA", "decay": 0.5}}
    origin.write_config(config)
    command = ["compress", f"run={origin.path}", "method=prune", "structured=false", "recover=4", "threads=1"]
    assert cli.run([*command, f"hydra.run.dir={tmp_path / 'whole'}"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Task, "training_step", told_to_end(Task.training_step, 2))
        with pytest.raises(SystemExit):
            cli.run([*command, f"hydra.run.dir={tmp_path / 'part'}"])
    assert cli.run(["resume", f"run={tmp_path / 'part'}"]) == 0
    places = [tmp_path / "whole" / name for name in ("earlier/pruned/checkpoints/best.ckpt", "checkpoints/best.ckpt")]
    before, best, whole, part = (
        load_checkpoint(file)["state_dict"]
        for file in (*places, *(tmp_path / name / "checkpoints" / "last.ckpt" for name in ("whole", "part")))
    )
    for name, value in before.items():
        assert torch.equal(whole[name], part[name]), name
        if name.startswith("model.blocks.") and value.ndim > 1:
            assert not best[name][value == 0].any() and not whole[name][value == 0].any()


def test_a_language_model_is_pruned_with_its_output_tied(pretrained, groundup):
    run = groundup("compress", f"run={pretrained}", "method=prune", "recover=0", "threads=1")
    names = load_checkpoint(run / "checkpoints" / "best.ckpt")["state_dict"]
    assert names.keys() == load_checkpoint(pretrained / "checkpoints" / "best.ckpt")["state_dict"].keys()
    assert (run / "beside.json").exists()


def test_heads_of_a_model_without_any_are_refused_in_one_line(language_model, groundup, capsys):
    groundup("compress", f"run={language_model}", "method=prune", code=2)
    assert "RecurrentDecoder has none. Try structured=false" in capsys.readouterr().err


def test_what_is_no_network_is_said_so(groundup, data_overrides, capsys):
    counts = groundup("baseline", *data_overrides, "data.label=subject")
    for command in (["compress", "method=quantize"], ["export", "output=out.onnx"]):
        assert cli.run([command[0], f"run={counts}", *command[1:]]) == 2
        assert "is a run of `groundup baseline` and holds no network" in capsys.readouterr().err
    assert cli.run(["export", f"run={counts}", "output=out.txt"]) == 2
    assert "Try output=out.onnx" in capsys.readouterr().err


def test_last_is_the_newest_network_and_no_newer_classical_model(
    finetuned, groundup, data_overrides, tmp_path, monkeypatch
):
    counts, logs = groundup("baseline", *data_overrides, "data.label=subject"), tmp_path / "logs"
    for name, run in (("network", finetuned), ("newer", counts)):
        shutil.copytree(run, logs / name)
    opened = []
    monkeypatch.setattr("groundup.stages.export.export_onnx", lambda loaded, _: opened.append(loaded.folder.path.name))
    words = ["run=last", "output=out.onnx", f"paths.logs={logs}", "threads=1"]
    assert cli.run(["export", *words]) == 0 and opened == ["network"]
