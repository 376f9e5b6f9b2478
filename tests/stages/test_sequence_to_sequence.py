"""Translation and summarization from the command line: every command as a user types it, on small files."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from groundup.stages.predict import ABOUT
from groundup.tasks.translation import Translation

WORDS = {"one": "一", "two": "二", "three": "三", "four": "四", "five": "五", "six": "六"}
SMALL = ["size=nano", "wandb.mode=disabled", "threads=1", "batching.batch_size=16"]
QUICK = ["optimizer=muon_adamw", "budget.steps=400", "validate_every=200", "task.decoding.max_new_tokens=12"]
SEPARATE = ["tokenizer@target_tokenizer=char", "model.shared_embedding=false"]


def write_pairs(path: Path, rows: int, seed: int) -> Path:
    generator = random.Random(seed)
    lines = ["en\tzh"]
    for _ in range(rows):
        words = generator.choices(list(WORDS), k=generator.randint(1, 4))
        lines.append(" ".join(words) + "\t" + "".join(WORDS[word] for word in words))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.tsv", 300, 1)


@pytest.fixture(scope="module")
def data(pairs) -> list[str]:
    return [
        "data=files",
        "task=translation",
        f"data.train={pairs}",
        "data.source=en",
        "data.target=zh",
        "tokenizer=char",
    ]


@pytest.fixture(scope="module")
def translator(groundup, data) -> Path:
    """A Transformer encoder-decoder that has learned the six words."""
    return groundup("finetune", *data, *SMALL, *QUICK)


def test_a_pair_file_is_enough(translator, read_json):
    metrics = read_json(translator / "metrics.json")
    assert metrics["validation/chrf"]["value"] > 50
    assert "tok:zh" in metrics["validation/bleu"]["signature"]
    assert read_json(translator / "baselines.json").keys() == {"copy of the source"}
    rows = read_rows(translator / "predictions.jsonl")
    assert {"source", "target", "hypothesis", "score", "status", "index"} <= rows[0].keys()
    sections = {section["title"]: section["parts"] for section in read_json(translator / "sections.json")}
    assert list(sections) == ["Translations", "Cross-attention"]
    assert sections["Cross-attention"][0]["weights"]
    assert list((translator / "samples").glob("step_*.txt"))
    page = (translator / "report.html").read_text(encoding="utf-8")
    assert rows[0]["hypothesis"] in page


def test_lines_out_are_lines_in_whatever_they_hold(translator, groundup, tmp_path):
    lines = ["one two", "", "   ", "six " * 60, "Ω never seen ☃", "three"]
    (tmp_path / "en.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = ["predict", f"run={translator}", f"input={tmp_path / 'en.txt'}"]
    groundup(*command, f"output={tmp_path / 'zh.txt'}", "batch_size=2")
    text = (tmp_path / "zh.txt").read_text(encoding="utf-8").split("\n")
    assert len(text) == len(lines) + 1 and text[-1] == ""
    assert text[1] == text[2] == "" and all(text[place] for place in (0, 3, 4, 5))

    beam = ["decoding=beam", "decoding.beam_size=3", "decoding.n_best=2", "decoding.max_new_tokens=12"]
    groundup(*command, f"output={tmp_path / 'zh.jsonl'}", *beam)
    rows = read_rows(tmp_path / "zh.jsonl")
    assert [row["text"] for row in rows] == lines
    for row, status in zip(rows, ["ok", "empty", "empty", "truncated", None, "ok"], strict=True):
        assert row["status"] == (status or ("ok" if row["finished"] else "unfinished"))
    assert rows[4]["unknown_tokens"] > 0 and "unknown_tokens" not in rows[0]
    assert rows[1] == {"text": "", "prediction": "", "status": "empty"}
    for row in rows[:1] + rows[3:]:
        scores = [one["score"] for one in row["n_best"]]
        assert len(scores) == 2 and scores == sorted(scores, reverse=True)
        assert row["prediction"] == row["n_best"][0]["text"]
    assert rows[0]["prediction"] == text[0]
    assert rows[4].keys() - {"text"} == {*Translation.answers, *ABOUT}


def test_a_prompt_is_translated_and_may_be_begun(translator, groundup, capsys):
    groundup("generate", f"run={translator}", "prompt=one two")
    said = capsys.readouterr().out.strip()
    groundup("generate", f"run={translator}", "prompt=one two", "decoding=greedy", "prefix=五")
    begun = capsys.readouterr().out.strip()
    assert set(said) <= set("".join(WORDS.values())) and begun.startswith("五") and not said.startswith("五")


def test_evaluation_needs_the_folder_alone_and_takes_another_decoding(translator, groundup, tmp_path, read_json):
    moved = shutil.copytree(translator, tmp_path / "moved")
    again = groundup("evaluate", f"run={moved}")
    assert read_json(again / "metrics.json") == {
        name: value for name, value in read_json(translator / "metrics.json").items() if name.startswith("validation/")
    }
    greedy = read_json(groundup("evaluate", f"run={moved}", "decoding=greedy") / "metrics.json")
    assert greedy["validation/loss"] == read_json(again / "metrics.json")["validation/loss"]


@pytest.mark.parametrize(
    "words",
    [["model=lstm_encoder_decoder"], ["model=transformer_decoder"], SEPARATE, ["task.pointer=true"]],
    ids=["lstm", "decoder alone", "separate", "pointer"],
)
def test_every_architecture_translates_from_the_same_command(words, data, groundup, tmp_path, read_json):
    quick = [word for word in QUICK if not word.startswith("budget")]
    run = groundup("finetune", *data, *SMALL, *quick, "budget.steps=20", *words)
    assert read_json(run / "metrics.json")["validation/bleu"]["n"] > 10
    assert (run / "target_tokenizer.json").exists() == (words is SEPARATE)
    (tmp_path / "en.txt").write_text("one\ntwo three\n", encoding="utf-8")
    groundup("predict", f"run={run}", f"input={tmp_path / 'en.txt'}", f"output={tmp_path / 'zh.txt'}")
    assert len((tmp_path / "zh.txt").read_text(encoding="utf-8").splitlines()) == 2


@pytest.mark.parametrize("task", ["span_corruption", "denoising"])
def test_pretraining_of_an_encoder_decoder_is_taken_over(task, pairs, data, groundup, read_json):
    words = ["data=files", f"data.train={pairs}", "tokenizer=char", "size=nano", "wandb.mode=disabled", "threads=1"]
    words += ["data.source=en", "data.target=zh", "batching.length=32", "batching.batch_size=8", "budget.steps=6"]
    parent = groundup("pretrain", f"task={task}", *words)
    assert "validation/perplexity" in read_json(parent / "metrics.json")
    child = groundup("finetune", *data, f"init_from={parent}", "wandb.mode=disabled", "threads=1", "budget.steps=3")
    assert "0 tensors" not in (child / "run.log").read_text(encoding="utf-8")
    assert "new, with random weights: none" in (child / "run.log").read_text(encoding="utf-8")
    child = groundup(
        "finetune", *data, f"init_from={parent}", "task.pointer=true", "wandb.mode=disabled", "budget.steps=3"
    )
    assert "new, with random weights: pointer.key.weight, pointer.share" in (child / "run.log").read_text(
        encoding="utf-8"
    )


def test_encoder_and_decoder_come_from_runs_of_their_own(pairs, data, groundup, read_json):
    common = ["data=files", "tokenizer=char", "size=nano", "wandb.mode=disabled", "threads=1", "budget.steps=4"]
    common += [f"data.train={pairs}", "batching.length=32", "batching.batch_size=8"]
    encoder = groundup("pretrain", *common, "data.text=en", "task=masked_lm", "model=transformer_encoder")
    decoder = groundup("pretrain", *common, "data.text=zh", "model=lstm_decoder")
    both = [f"init_from.encoder={encoder}", f"init_from.decoder={decoder}"]
    child = groundup(
        "finetune", *data, *SMALL, *both, "budget.steps=3", "optimizer.lr=1e-9", "optimizer.weight_decay=0"
    )
    said = (child / "run.log").read_text(encoding="utf-8")
    assert "init_from.encoder" in said and "init_from.decoder" in said and (child / "target_tokenizer.json").exists()
    import torch

    weights = {
        run: torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        for run in (encoder, decoder, child)
    }
    for part, run in (("encoder", encoder), ("decoder", decoder)):
        taken = [name for name in weights[run] if name.startswith("model.")]
        for name in taken:
            torch.testing.assert_close(
                weights[child][name.replace("model.", f"model.{part}.", 1)], weights[run][name], atol=1e-6, rtol=0
            )
        assert len(taken) >= 5
    refused = groundup("finetune", *data, *SMALL, f"init_from.encoder={decoder}", code=2)
    assert not (refused / "checkpoints").exists()


MISTAKES = {
    "no target column": (["data.target=de"], "data.target=zh"),
    "an encoder for a text": (["model=transformer_encoder"], "model=transformer_encoder_decoder"),
    "words on Chinese": (["task.decoding.beam_size=2", "task.decoding.n_best=3"], "Try task.decoding.beam_size=3"),
    "sharing two vocabularies": (["tokenizer@target_tokenizer=char"], "model.shared_embedding=false"),
    "copying without an encoder": (["model=transformer_decoder", "task.pointer=true"], "task.pointer=false"),
    "copying into another vocabulary": (
        ["tokenizer@target_tokenizer=char", "model.shared_embedding=false", "task.pointer=true"], "one vocabulary",
    ),
    "scheduled sampling without an encoder": (["model=transformer_decoder", "task.scheduled_sampling=0.2"], "=0"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_line_that_says_what_to_type(mistake, data, groundup, capsys):
    words, advice = MISTAKES[mistake]
    groundup("finetune", *data, *SMALL, *words, code=2)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert advice in line


def test_a_row_without_its_other_side_is_named(groundup, tmp_path, capsys):
    (tmp_path / "bad.tsv").write_text("en\tzh\none\t一\ntwo\n", encoding="utf-8")
    words = ["data=files", "task=translation", f"data.train={tmp_path / 'bad.tsv'}", "data.source=en", "data.target=zh"]
    groundup("finetune", *words, *SMALL, code=2)
    assert "line 3" in capsys.readouterr().err
