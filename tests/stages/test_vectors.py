"""``model.vectors``: a run begins with word vectors, and needs their file no more."""

from __future__ import annotations

import gzip
import json
import shutil

import pytest
import torch

from groundup import cli

SMALL = ["tokenizer=word", "tokenizer.min_frequency=1", "wandb.mode=disabled", "threads=1", "data.label=subject"]
SHORT = ["budget.steps=3", "validate_every=3", "optimizer.lr=1e-9"]  # weights stay where they began
VECTORS = {"roses": [1, 2, 3, 4], "oven": [4, -3, 2, 1], "the": [0, 1, 0, -1], "tide": [-2, -2, 2, 0]}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors") / "small.4d.txt.gz"
    path.write_bytes(gzip.compress("".join(f"{w} {' '.join(map(str, v))}\n" for w, v in VECTORS.items()).encode()))
    return path


@pytest.fixture(scope="module")
def run(groundup, data_overrides, file, tmp_path_factory):
    """A BiLSTM that began with a file which is gone by now."""
    gone = shutil.copy(file, tmp_path_factory.mktemp("gone") / "copy.gz")
    folder = groundup(
        "finetune", *data_overrides, *SMALL, *SHORT, "model=bilstm_encoder", "size=nano", f"model.vectors={gone}"
    )
    gone.unlink()
    return folder


def embedding(folder):
    vocabulary = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    weights = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"][
        "model.embedding.weight"
    ]
    return vocabulary, weights


def test_the_embedding_begins_with_the_vectors_and_has_their_width(run, read_json):
    vocabulary, weights = embedding(run)
    assert weights.shape[1] == 4
    rows = torch.stack([weights[vocabulary[word]] for word in VECTORS])
    given = torch.tensor(list(VECTORS.values()), dtype=torch.float)
    torch.testing.assert_close(rows / rows[0, 0], given, atol=1e-4, rtol=1e-4)
    assert "vectors: 4 of " in (run / "run.log").read_text(encoding="utf-8")
    assert weights[vocabulary["gulls"]].abs().sum() > 0  # has none, and keeps its random one


def test_a_run_is_used_and_gone_on_from_without_the_file(run, groundup, data_overrides):
    groundup("evaluate", f"run={run}")
    heir = groundup(
        "finetune",
        *data_overrides,
        *SHORT,
        "wandb.mode=disabled",
        "threads=1",
        "data.label=subject",
        f"init_from={run}",
    )
    torch.testing.assert_close(embedding(heir)[1], embedding(run)[1], atol=1e-6, rtol=0)


def test_vectors_can_be_kept_as_they_are_while_the_rest_learns(run, groundup, data_overrides, file):
    folder = groundup(
        "finetune", *data_overrides, *SMALL, "model=bilstm_encoder", "size=nano", f"model.vectors={file}", "budget.steps=3",
        "optimizer.lr=0.1", "callbacks=[default,freeze]", "callbacks.freeze.what=model.embedding",
    )  # fmt: skip
    torch.testing.assert_close(embedding(folder)[1], embedding(run)[1], atol=1e-6, rtol=0)  # there they hardly move
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    trained = {name for group in last["optimizer_states"][0]["param_groups"] for name in group["names"]}
    assert {*last["state_dict"]} - trained == {"model.embedding.weight"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model.vectors={file}", "init_from={run}"], "which differs. Leave out model.vectors="),
        (["model.vectors=nowhere.txt"], "no file nowhere.txt. Try model.vectors=ppmi"),
        (["model.vectors={reviews}/train.csv"], "no file of vectors"),
        (["model.vectors={file}", "model=bilstm_encoder", "model.embedding_width=5"], "Try model.embedding_width=4"),
        (["model.vectors={file}", "model=bag_of_ngrams"], "Try model.width=4"),
        (["+model.vectors=ppmi", "model=lstm_encoder_decoder", "task=translation", "data.source=review",
          "data.target=review", "data.label=null"], "an encoder-decoder has two. Try model.vectors=null"),
        (["model.vectors={file}", "model.vectors=7"], "must be"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(words, said, data_overrides, tmp_path, capfd, request, reviews):
    known = {"file": request.getfixturevalue("file"), "run": request.getfixturevalue("run"), "reviews": reviews}
    words = [word.format(**known) for word in words]
    folder = tmp_path / "run"
    assert cli.run(["finetune", *data_overrides, *SMALL, *SHORT, *words, f"hydra.run.dir={folder}"]) == 2
    error = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1 and said in error[0]


def test_further_text_gives_words_and_vectors(groundup, data_overrides, tmp_path):
    text = tmp_path / "further.txt"
    text.write_text("many roses and dahlias, old dahlias and tulips\n" * 8, encoding="utf-8")
    folder = groundup(
        "finetune", *data_overrides, *SMALL, *SHORT, "model=cnn_encoder", "model.vectors=ppmi", f"data.unlabelled={text}",
    )  # fmt: skip
    vocabulary, weights = embedding(folder)
    assert weights.shape[1] == 128
    assert list(vocabulary)[-1] != "the" and weights[vocabulary["dahlias"]].norm() == pytest.approx(
        0.3 * 128**0.5, rel=1e-3
    )
    text.unlink()
    groundup("evaluate", f"run={folder}")
