"""A Chinese BERT from a folder with a vocab.txt: imported, fine-tuned and exported as a classifier, by its commands."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest
import torch

from groundup import cli
from groundup.stages.loading import load_run

transformers = pytest.importorskip("transformers")
GOOD, BAD = "这家酒店很好，房间干净。", "服务太差了 wifi 也不好！"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chinese")
    entries = [*SPECIAL, *sorted({*GOOD, *BAD} - {" "}), "wifi", "wi", "##fi"]
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.BertConfig(vocab_size=len(entries), max_position_embeddings=40, **sizes)
    transformers.BertForMaskedLM(config).half().save_pretrained(folder / "bert", max_shard_size="20KB")
    (folder / "bert" / "vocab.txt").write_text("\n".join(entries) + "\n", encoding="utf-8")
    (folder / "bert" / "tokenizer_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    with open(folder / "train.jsonl", "w", encoding="utf-8") as file:
        for number in range(40):
            text, label = (GOOD, "good") if number % 2 else (BAD, "bad")
            file.write(json.dumps({"text": text[: 5 + number % 9], "label": label}, ensure_ascii=False) + "\n")
    run, exported = folder / "imported", folder / "exported"
    words = [f"init_from={run}", "data=files", f"data.train={folder / 'train.jsonl'}", "data.validation_share=0.2"]
    words += ["batching.max_length=40", "task.pooling=pooler", "budget=3steps", "logger=none", "threads=1"]
    assert cli.run(["import", f"path={folder / 'bert'}", f"hydra.run.dir={run}"]) == 0
    assert cli.run(["finetune", *words, f"hydra.run.dir={folder / 'tuned'}"]) == 0
    assert cli.run(["export", f"run={folder / 'tuned'}", "format=hf", f"output={exported}", "license=mit"]) == 0
    return SimpleNamespace(folder=folder, run=load_run(folder / "tuned"), imported=run, exported=exported)


def test_characters_are_split_as_theirs(tuned):
    theirs = transformers.BertTokenizer.from_pretrained(tuned.folder / "bert")
    for text in (GOOD, BAD, "WiFi真好", "不认识的字"):
        assert tuned.run.tokenizer.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]


def test_a_file_in_half_precision_is_kept_in_half_precision(tuned):
    assert len(list((tuned.folder / "bert").glob("*.safetensors"))) > 1  # an index names them
    files = [*(tuned.folder / "bert").glob("*.safetensors")]
    kept = (tuned.imported / "checkpoints" / "best.ckpt").stat().st_size
    assert kept < 1.5 * sum(file.stat().st_size for file in files)


def test_what_was_fine_tuned_answers_the_same_as_a_pipeline(tuned):
    pipeline = transformers.pipeline("text-classification", model=str(tuned.exported), top_k=None)
    for text in (GOOD, BAD):
        theirs = {one["label"]: one["score"] for one in pipeline([text])[0]}
        ours = dict(zip(tuned.run.labels, tuned.run.probabilities([{"text": text}])[0], strict=True))
        assert theirs == pytest.approx(ours, abs=1e-4)


def test_the_model_card_tells_figures_with_intervals(tuned):
    card = (tuned.exported / "README.md").read_text(encoding="utf-8")
    assert 'license: "mit"' in card
    assert re.search(r"^\| validation/accuracy \| [\d.]+ \[[\d.]+, [\d.]+\] \|$", card, re.MULTILINE)


def test_an_option_in_the_way_is_named(tuned, capsys):
    words = [f"data.train={tuned.folder / 'train.jsonl'}", "data=files", "size=nano", "budget=1steps", "logger=none"]
    assert cli.run(["finetune", *words, "threads=1", f"hydra.run.dir={tuned.folder / 'plain'}"]) == 0
    output = tuned.folder / "not_there"
    assert cli.run(["export", f"run={tuned.folder / 'plain'}", "format=hf", f"output={output}"]) == 2
    said = capsys.readouterr().err
    assert "model.norm=layer" in said
    assert "model.norm_order=post" in said
    assert not output.exists()
