"""``groundup compress``: what comes out is a run like any other, beside the one that it was made of."""

from __future__ import annotations

import json

import pytest
import torch

from groundup.runs.checkpoints import load_checkpoint


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
