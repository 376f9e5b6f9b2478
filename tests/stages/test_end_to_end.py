"""Every verb on real, small runs: what a user types, and what must lie in the folder afterwards."""

from __future__ import annotations

import csv
import json
import shutil

import pytest
import torch

from groundup import cli
from groundup.stages.loading import load_run


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def test_run_folder_holds_what_the_run_needs(finetuned, read_json):
    names = ["config.yaml", "command.txt", "provenance.json", "tokenizer.json", "labels.json", "metrics.csv"]
    names += ["metrics.json", "predictions.jsonl", "report.html", "status.json", "run.log", "baselines.json"]
    assert [name for name in names if not (finetuned / name).is_file()] == []
    assert {path.name for path in (finetuned / "checkpoints").iterdir()} >= {"last.ckpt", "best.ckpt"}
    assert read_json(finetuned / "status.json")["state"] == "done"
    assert read_json(finetuned / "labels.json") == ["garden", "kitchen", "sea"]


def test_finetuned_model_has_learned_the_task(finetuned, read_json):
    metrics, baselines = read_json(finetuned / "metrics.json"), read_json(finetuned / "baselines.json")
    low, high = metrics["test/accuracy"]["ci95"]
    assert metrics["test/accuracy"]["value"] > baselines["majority class"]["test/accuracy"]["value"] + 0.2
    assert low < metrics["test/accuracy"]["value"] <= high
    assert metrics["test/accuracy"]["n"] == 80


def test_predictions_agree_with_the_reported_accuracy(finetuned, read_json):
    rows = rows_of(finetuned / "predictions.jsonl")
    right = sum(row["predicted"] == row["label"] for row in rows) / len(rows)
    assert right == pytest.approx(read_json(finetuned / "metrics.json")["test/accuracy"]["value"])
    assert [row["index"] for row in rows] == list(range(80))


def test_training_loss_is_logged_against_steps(language_model):
    with open(language_model / "metrics.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows if row["validation/loss"]] == ["6", "12"]
    assert float(rows[-1]["validation/loss"]) < float(rows[0]["validation/loss"])


def test_a_language_model_learns_from_lists_of_tokens(groundup, tmp_path):
    rows = [{"words": ["the", "roses", str(number)]} for number in range(40)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = ["size=nano", "tokenizer=word", "batching.length=8", "budget.steps=2", "wandb.mode=disabled", "threads=1"]
    run = load_run(
        groundup("pretrain", "data=files", f"data.train={tmp_path / 'a.jsonl'}", "data.tokens=words", *options)
    )
    assert run.tokenizer.decode(run.tokenizer.encode("the roses")) == "the roses"


def test_evaluate_gives_the_numbers_of_the_run_from_a_moved_folder(
    groundup, finetuned, tmp_path, read_json, monkeypatch, capsys
):
    moved = tmp_path / "elsewhere"
    shutil.copytree(finetuned, moved)
    monkeypatch.chdir(moved)
    again = read_json(groundup("evaluate", "run=.") / "metrics.json")
    assert "TransformerEncoder" in capsys.readouterr().out
    before = read_json(finetuned / "metrics.json")
    assert again["test/accuracy"] == before["test/accuracy"]
    assert again["test/loss"]["value"] == pytest.approx(before["test/loss"]["value"], rel=1e-5)


def test_evaluate_on_other_data_keeps_the_columns_of_the_run(groundup, finetuned, reviews, read_json):
    folder = groundup("evaluate", f"run={finetuned}", f"data.test={reviews / 'dev.csv'}")
    assert read_json(folder / "metrics.json")["test/accuracy"]["n"] == 60


def test_evaluate_says_which_rows_the_run_has_learned_from(groundup, finetuned, reviews, tmp_path):
    rows = (reviews / "train.csv").read_text(encoding="utf-8").splitlines()
    rows[-1] = rows[-1].replace(" ", " anew ", 1)
    (tmp_path / "mine.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    log = (groundup("evaluate", f"run={finetuned}", f"data.test={tmp_path / 'mine.csv'}") / "run.log").read_text()
    assert "test: 239 of 240 rows also stand in train (99.6 %)" in log


def test_evaluate_needs_no_rows_that_the_run_has_learned_from(groundup, finetuned, reviews, tmp_path, read_json):
    moved = tmp_path / "elsewhere"
    shutil.copytree(finetuned, moved)
    config = (moved / "config.yaml").read_text(encoding="utf-8")
    assert f"root: {reviews}" in config
    (moved / "config.yaml").write_text(config.replace(f"root: {reviews}", "root: /gone"), encoding="utf-8")
    folder = groundup("evaluate", f"run={moved}", f"data.test={reviews / 'dev.csv'}", "data.root=null")
    assert read_json(folder / "metrics.json")["test/accuracy"]["n"] == 60
    assert "stand in train" not in (folder / "run.log").read_text()


def test_predict_answers_every_row_in_order(finetuned, tmp_path):
    texts = ["roses and compost", "", "the tide and the anchor " * 100, "garlic butter", "全新的文字 🙂"]
    source, output = tmp_path / "texts.jsonl", tmp_path / "out.jsonl"
    source.write_text("".join(json.dumps({"review": text, "id": n}) + "\n" for n, text in enumerate(texts)), "utf-8")
    assert cli.run(["predict", f"run={finetuned}", f"input={source}", f"output={output}"]) == 0
    rows = rows_of(output)
    assert [(row["id"], row["review"]) for row in rows] == list(enumerate(texts))
    assert rows[0]["predicted"] == "garden" and rows[3]["predicted"] == "kitchen"
    assert all(sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4) for row in rows)


def test_prediction_does_not_depend_on_the_batch(finetuned):
    run = load_run(finetuned)
    rows = [{"text": text} for text in ("roses", "the oven and a recipe with garlic and dough", "waves " * 30)]
    together = list(run.answer(rows, batch_size=3))
    alone = [next(run.answer([row], batch_size=1)) for row in rows]
    for one, other in zip(together, alone, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


def test_language_model_scores_texts(language_model, tmp_path):
    source, output = tmp_path / "texts.txt", tmp_path / "out.jsonl"
    source.write_text("roses and soil\n\nthe old harbour\n", encoding="utf-8")
    assert cli.run(["predict", f"run={language_model}", f"input={source}", f"output={output}", "text=text"]) == 0
    assert [row["text"] for row in rows_of(output)] == ["roses and soil", "", "the old harbour"]
    assert all(row["perplexity"] > 1 for row in rows_of(output))


def test_generate_writes_the_same_text_for_the_same_seed(language_model, capsys):
    def write(*more: str) -> str:
        command = ["generate", f"run={language_model}", "prompt=the sea", "decoding.max_new_tokens=12", *more]
        assert cli.run(command) == 0
        return capsys.readouterr().out

    first = write("seed=1")
    assert first.startswith("the sea") and len(first) > len("the sea\n")
    assert write("seed=1") == first
    assert write("seed=2") != first
    assert write("decoding=greedy", "seed=1") == write("decoding=greedy", "seed=2")


def test_init_from_takes_the_weights_of_the_body(groundup, data_overrides, pretrained):
    started = groundup(
        "finetune", *data_overrides, "data.label=subject", f"init_from={pretrained}", "budget.steps=1",
        "optimizer.lr=1e-30", "optimizer.weight_decay=0", "wandb.mode=disabled",
    )  # fmt: skip
    theirs, ours = load_run(pretrained).task.state_dict(), load_run(started).task.state_dict()
    body = [name for name in theirs if name.startswith("model.")]
    assert body and all(torch.equal(theirs[name], ours[name]) for name in body)
    assert (started / "tokenizer.json").read_bytes() == (pretrained / "tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model=bilstm_encoder"], "comes with its own model, which differs"),
        (["tokenizer=char"], "comes with its own tokenizer, which differs"),
        (["size.width=64"], "comes with its own size, which differs"),
    ],
)
def test_init_from_refuses_another_architecture(data_overrides, pretrained, tmp_path, capsys, arguments, message):
    command = ["finetune", *data_overrides, "data.label=subject", f"init_from={pretrained}", *arguments]
    assert cli.run([*command, f"hydra.run.dir={tmp_path}"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and message in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain", "task=masked_lm"], "task=masked_lm needs an encoder"),
        (["finetune", "data.label=nosuch"], "nosuch"),
        (["finetune"], "label"),
        (
            ["finetune", "data.label=subject", "data.validation=null", "data.validation_share=null"],
            "data.validation=dev.csv",
        ),
        (["finetune", "data.label=subject", "data.train=nosuch.csv"], "nosuch.csv"),
        (["finetune", "data.label=subject", "budget.steps=2", "budget.minutes=1"], "a budget has one unit"),
        (["finetune", "data.label=subject", "model.dropuot=0.5"], "model.dropout"),
        (["finetune", "data.label=subject", "model.dropout=1.5"], "must be less than 1"),
        (["finetune", "data.label=subject", "model.heads=3"], "heads"),
        (["finetune", "data.label=subject", "task.class_weights=[1,2]"], "task.class_weights"),
    ],
)
def test_mistakes_end_in_one_line_and_code_2(data_overrides, tmp_path, capsys, arguments, message):
    verb, *rest = arguments
    assert cli.run([verb, *data_overrides, *SMALL_AND_QUIET, *rest, f"hydra.run.dir={tmp_path}"]) == 2
    output = capsys.readouterr().err.strip().splitlines()
    assert output[-1].startswith("error: ") and message in output[-1]
    assert "Traceback" not in "".join(output)
    assert not (tmp_path / "checkpoints" / "last.ckpt").exists()


SMALL_AND_QUIET = ["size=nano", "wandb.mode=disabled"]


def test_one_class_only_is_refused(tmp_path, capsys):
    file = tmp_path / "one.csv"
    file.write_text("text,label\n" + "".join(f"row number {n},same\n" for n in range(20)), encoding="utf-8")
    command = ["finetune", "data=files", f"data.train={file}", f"data.validation={file}", "data.label=label"]
    assert cli.run([*command, *SMALL_AND_QUIET, f"hydra.run.dir={tmp_path / 'run'}"]) == 2
    assert "class" in capsys.readouterr().err


def test_damaged_checkpoint_is_refused_in_one_line(finetuned, tmp_path, capsys):
    broken = tmp_path / "run"
    shutil.copytree(finetuned, broken)
    for file in (broken / "checkpoints").iterdir():
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0xFF
        file.write_bytes(content)
    assert cli.run(["evaluate", f"run={broken}", f"hydra.run.dir={tmp_path / 'out'}"]) == 2
    assert "damaged" in capsys.readouterr().err


def test_sweep_leaves_a_folder_a_run_and_one_table(data_overrides, tmp_path, capsys):
    command = ["finetune", "-m", *data_overrides, "data.label=subject", *SMALL_AND_QUIET, "budget.steps=3"]
    command += ["model=bilstm_encoder,transformer_encoder", "seed=1,2", f"hydra.sweep.dir={tmp_path}"]
    assert cli.run(command) == 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["0", "1", "2", "3"]
    assert len((tmp_path / "results.csv").read_text(encoding="utf-8").strip().splitlines()) >= 5
    shown = capsys.readouterr().out
    assert "bilstm_encoder" in shown and "transformer_encoder" in shown


def test_own_text_in_one_line(tmp_path, reviews):
    book = tmp_path / "book.txt"
    with open(reviews / "train.csv", encoding="utf-8") as file:
        book.write_text("\n".join(row["review"] for row in csv.DictReader(file)), encoding="utf-8")
    command = ["pretrain", "data=files", f"data.train={book}", "data.validation_share=0.1", "tokenizer=char"]
    command += ["budget.steps=4", "batching.length=16", "batching.batch_size=4", *SMALL_AND_QUIET]
    assert cli.run([*command, f"hydra.run.dir={tmp_path / 'run'}"]) == 0
    assert (tmp_path / "run" / "samples").is_dir()
