"""``lora.rank``: a run trains small matrices beside those of the run that it begins with, and is used like any other."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from groundup import cli
from groundup.models.lora import is_adapter, without_adapters

PLAIN = ["wandb.mode=disabled", "threads=1"]
QUICK = [*PLAIN, "data.label=subject", "validate_every=100"]
STILL = ["optimizer.lr=1e-12", "optimizer.weight_decay=0", "budget.steps=1"]  # weights stay where they began
RANK, ALPHA = 2, 8


def weights(folder, name="best.ckpt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)["state_dict"]


def body(tensors):
    return {name: value for name, value in tensors.items() if name.startswith("model.")}


@pytest.fixture(scope="module")
def adapted(groundup, data_overrides, pretrained):
    """A classifier of ``pretrained`` with adapters."""
    return groundup(
        "finetune", *data_overrides, *QUICK, f"init_from={pretrained}", f"lora.rank={RANK}", f"lora.alpha={ALPHA}",
        "lora.dropout=0.1", "budget.steps=30", "optimizer.lr=1e-2",
    )  # fmt: skip


def test_frozen_weights_are_those_of_the_parent_and_the_optimizer_knows_no_others(adapted, pretrained, read_json):
    ours, theirs = weights(adapted), body(weights(pretrained))
    new = {name for name in ours if is_adapter(name) or name.startswith("head.")}
    assert set(ours) == {*theirs, *new}
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert all(ours[name].any() for name in new)
    (optimizer,) = torch.load(adapted / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"]
    assert {name for group in optimizer["param_groups"] for name in group["names"]} == new
    assert len(optimizer["state"]) == len(new)
    trained, total = (
        sum(value.numel() for value in values) for values in ([ours[name] for name in new], ours.values())
    )
    assert (
        read_json(adapted / "provenance.json")["trained"],
        read_json(adapted / "provenance.json")["parameters"],
    ) == (
        trained,
        total,
    )
    log = (adapted / "run.log").read_text(encoding="utf-8")
    assert f"{total:,} parameters, {trained:,} of them trained ({trained / total:.1%})" in log
    assert "blocks.*.attention.qkv" in log and "frozen without one: Embedding, RMSNorm" in log


def test_it_is_evaluated_and_predicts_as_it_was_measured(
    adapted, groundup, data_overrides, tmp_path, reviews, read_json
):
    again = groundup("evaluate", f"run={adapted}")
    known = read_json(adapted / "metrics.json")
    assert read_json(again / "metrics.json").items() <= known.items()
    output = tmp_path / "out.jsonl"
    assert (
        cli.run(["predict", f"run={adapted}", f"input={reviews / 'test.csv'}", "text=review", f"output={output}"]) == 0
    )
    said = [json.loads(line)["predicted"] for line in output.read_text(encoding="utf-8").splitlines()]
    measured = [json.loads(line) for line in (adapted / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert said == [row["predicted"] for row in measured]


@pytest.mark.parametrize("words", [[], ["lora.rank=3"]], ids=["plain", "adapted again"])
def test_another_run_begins_with_it_merged(words, adapted, groundup, data_overrides):
    heir = groundup("finetune", *data_overrides, *QUICK, *STILL, f"init_from={adapted}", *words)
    ours = {name: value for name, value in weights(heir).items() if not is_adapter(name)}
    expected = without_adapters(weights(adapted), ALPHA / RANK)
    assert ours.keys() == expected.keys()
    assert all(torch.allclose(ours[name], value, atol=1e-6, rtol=0) for name, value in expected.items())
    log = (heir / "run.log").read_text(encoding="utf-8")
    assert "adapters merged into them" in log and "new, with random weights: none" in log


def test_folds_are_adapted_each_and_answer_together(adapted, pretrained, groundup, data_overrides, read_json):
    run = groundup(
        "finetune", *data_overrides, *QUICK, f"init_from={pretrained}", "lora.rank=1", "budget.steps=1", "folds=2"
    )
    for fold in ("fold_1", "fold_2"):
        assert sum(map(is_adapter, weights(run / fold))) == 2 * 4 * 2  # layers, linear maps, matrices
    again = groundup("evaluate", f"run={run}")
    assert read_json(again / "metrics.json").items() <= read_json(run / "metrics.json").items()


def test_what_the_loaded_part_lacks_learns_whole(pretrained, groundup, data_overrides, read_json):
    run = groundup(
        "finetune", *data_overrides, "task=translation", "data.source=review", "data.target=review", "size=nano",
        *PLAIN, f"init_from.encoder={pretrained}", "lora.rank=2", "budget.steps=2", "task.decoding.max_new_tokens=3",
        "task.validation_rows=2",
    )  # fmt: skip
    ours, theirs = weights(run), body(weights(pretrained))
    for name, value in theirs.items():
        assert torch.equal(ours[name.replace("model.", "model.encoder.", 1)], value)
    (optimizer,) = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"]
    trained = {name for group in optimizer["param_groups"] for name in group["names"]}
    assert {name for name in trained if is_adapter(name)} == {
        f"model.encoder.blocks.{i}.{part}.lora_{one}"
        for i in range(2) for part in ("attention.qkv", "attention.out", "feed_forward.up", "feed_forward.down") for one in "ab"
    }  # fmt: skip
    decoder = {name for name in ours if name.startswith("model.decoder.")} - {
        "model.decoder.embedding.weight"
    }  # shared
    assert {name for name in trained if not is_adapter(name)} == decoder
    groundup("evaluate", f"run={run}")  # knows from its config what has no adapter


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["lora.rank=8"], "lora.rank=8 adapts a model that was trained, and there is none. Try init_from=RUN"),
        (["lora.rank=0", "init_from={run}"], "lora.rank = 0: must be at least 1"),
        (
            ["lora.rank=2", "init_from={lstm}"],
            "none in this RecurrentDecoder: its weights are of Embedding, LSTM. Try lora.rank=null",
        ),
    ],
)
def test_what_cannot_be_is_said_in_one_line(words, line, groundup, data_overrides, pretrained, language_model, capsys):
    words = [word.format(run=pretrained, lstm=language_model) for word in words]
    groundup("finetune", *data_overrides, *QUICK, "budget.steps=1", *words, code=2)
    assert line in capsys.readouterr().err


def test_a_config_that_asks_for_other_adapters_than_were_saved_is_refused(adapted, tmp_path, capsys):
    folder = shutil.copytree(adapted, tmp_path / "run")
    text = (folder / "config.yaml").read_text(encoding="utf-8")
    for rank, said in (("1000000000", "config.yaml beside it asks for"), ("[]", "lora.rank")):
        (folder / "config.yaml").write_text(text.replace(f"rank: {RANK}", f"rank: {rank}"), encoding="utf-8")
        assert cli.run(["evaluate", f"run={folder}", f"hydra.run.dir={tmp_path / said}"]) == 2
        assert said in capsys.readouterr().err
