"""What a run takes from earlier ones: tokenizers with the tables that they belong to, weights, rows of a head."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from groundup.config.compose import compose_with_choices
from groundup.data.facts import Facts
from groundup.models.encoder_decoder import EncoderDecoder
from groundup.models.transformer import TransformerDecoder, TransformerEncoder
from groundup.runs.about import choices_of
from groundup.runs.folder import RunFolder
from groundup.stages.inheritance import inherit
from groundup.stages.inherited_weights import adopt_weights
from groundup.tasks.classification import Classification
from groundup.tasks.masked_lm import MaskedLM
from groundup.tasks.tagging import Tagging
from groundup.tasks.translation import Translation
from groundup.text.tokenizer import Tokenizer

QUICK = ["size=nano", "wandb.mode=disabled", "threads=1", "budget.steps=1", "optimizer.lr=1e-9"]
QUICK += ["optimizer.weight_decay=0", "task.decoding.max_new_tokens=4"]
TOKENIZER = Tokenizer.train(["abcde"], "char", 12)  # its 7 special tokens, and these
SPECIAL = dict(zip(("pad_id", "unk_id", "bos_id", "eos_id", "sep_id", "mask_id", "cls_id"), range(7)))
SIZES = {"width": 16, "layers": 1, "heads": 2}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Sources of a to f, targets of u to z: two vocabularies of one size."""
    rows = [(text, text.translate(str.maketrans("abcdef", "zyxwvu"))) for text in ("abc", "fed", "bad", "cab", "face")]
    file = tmp_path_factory.mktemp("pairs") / "pairs.tsv"
    file.write_text("\n".join(["small\tlate", *map("\t".join, rows * 8)]) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def translate(groundup, pairs):
    def run(*words: str, code: int = 0) -> Path:
        data = ["data=files", "task=translation", f"data.train={pairs}", "data.source=small", "data.target=late"]
        return groundup("finetune", *data, *QUICK, *words, code=code)

    return run


@pytest.fixture(scope="module")
def two(translate) -> Path:
    """An encoder-decoder with two vocabularies."""
    return translate("tokenizer=char", "tokenizer@target_tokenizer=char", "model.shared_embedding=false")


def embedding(run: Path, side: str) -> torch.Tensor:
    weights = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    return weights[f"model.{side}.embedding.weight"]


@pytest.mark.parametrize("parts", [("decoder",), ("encoder", "decoder")])
def test_each_row_of_an_embedding_that_comes_from_a_run_belongs_to_the_same_token(two, translate, parts):
    own = [] if "encoder" in parts else ["tokenizer=char"]
    child = translate(*own, *(f"init_from.{part}={two}" for part in parts))
    for part in parts:
        file = "target_tokenizer.json" if part == "decoder" else "tokenizer.json"
        assert Tokenizer.load(child / file).fingerprint == Tokenizer.load(two / file).fingerprint
        torch.testing.assert_close(embedding(child, part), embedding(two, part), atol=1e-6, rtol=0)
    assert Tokenizer.load(child / "tokenizer.json").vocab_size == Tokenizer.load(two / "tokenizer.json").vocab_size
    assert not torch.equal(embedding(child, "encoder"), embedding(child, "decoder"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["tokenizer@target_tokenizer=byte_bpe"], "target_tokenizer"),
        (["model.decoder.layers=7"], "model.decoder"),
    ],
)
def test_what_a_part_brings_along_cannot_be_asked_for_otherwise(two, translate, words, named, capsys):
    translate("tokenizer=char", f"init_from.decoder={two}", *words, code=2)
    assert f"comes with its own {named}, which differs" in capsys.readouterr().err
    if named == "model.decoder":  # what changes no tensor may
        child = translate("tokenizer=char", f"init_from.decoder={two}", "model.decoder.dropout=0.25")
        assert "dropout: 0.25" in (child / "config.yaml").read_text(encoding="utf-8")


def test_two_vocabularies_of_one_size_share_no_embedding(translate, capsys):
    translate("tokenizer=char", "tokenizer@target_tokenizer=char", code=2)
    assert "model.shared_embedding=false" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parts", "typed", "expected"),
    [
        (("",), {"model.dropout": 0.3}, (0.3, 0.3)),
        (("",), {"model.dropout": 0.3, "model.decoder.dropout": 0.4}, (0.3, 0.4)),
        (("encoder",), {"model.dropout": 0.3}, (0.3, 0.3)),
        (("encoder", "decoder"), {"model.decoder.dropout": 0.4}, (0.1, 0.4)),
        (("",), {}, (0.1, 0.1)),
    ],
)
def test_dropout_of_what_comes_from_a_run_may_be_set_for_both_sides_at_once(parts, typed, expected, tmp_path):
    command = ["task=translation", "tokenizer=char", "size=nano"]
    theirs, _ = compose_with_choices("finetune", command)
    parent = RunFolder(tmp_path)
    parent.write_config(theirs)
    parent.tokenizer.write_text("", encoding="utf-8")
    overrides = [*command, *(f"{key}={value}" for key, value in typed.items())]
    cfg, _ = compose_with_choices("finetune", overrides)
    tokenizer = type("Known", (), {"fingerprint": "same"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tokenizer, "load", lambda path: tokenizer)
        inherit(cfg, dict.fromkeys(parts, parent), overrides)
    assert (cfg.model.encoder.dropout, cfg.model.decoder.dropout) == expected


@pytest.fixture(scope="module")
def tagged(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("tagged") / "train.conll"
    file.write_text("Ann\tB-PER\nsees\tO\nRome\tB-LOC\n\nBob\tB-PER\nlives\tO\nin\tO\nOslo\tB-LOC\n\n" * 20, "utf-8")
    return file


@pytest.mark.parametrize("model", ["bilstm_encoder", "transformer_encoder"])
@pytest.mark.parametrize("characters", ["cnn", "null"])
def test_a_tagger_takes_its_characters_from_pretraining_or_adds_them_to_it(model, characters, groundup, tagged, capsys):
    words = ["data=files", f"data.train={tagged}", f"data.validation={tagged}", *QUICK[:-1]]
    theirs = [f"model={model}", f"model.characters={characters}", "batching.length=16", "tokenizer=word"]
    parent = groundup("pretrain", *words, "task=masked_lm", *theirs)
    adds = ["model.characters=cnn", *([f"model={model}"] if characters == "null" else [])]  # typed again it is the same
    child = groundup("finetune", *words, "task=tagging", "task.crf=true", f"init_from={parent}", *adds)
    old, new = (
        torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for run in (parent, child)
    )
    assert any(name.startswith("model.characters.") for name in new)
    assert choices_of(RunFolder(child).status())["model"] == model
    body = [name for name in old if name.startswith("model.")]
    assert len(body) > 4
    for name in body:  # what has grown has its new columns behind the old ones
        torch.testing.assert_close(new[name][..., : old[name].shape[-1]], old[name], atol=1e-6, rtol=0)
    told = (child / "run.log").read_text("utf-8")
    assert ("new, with random weights: model.characters." in told) == (characters == "null")
    grown = characters == "null" and model == "bilstm_encoder"
    assert ("wider than there, with random weights in the new columns: model.blocks.0." in told) == grown
    if characters == "cnn" and model == "bilstm_encoder":
        capsys.readouterr()
        groundup("finetune", *words, "task=tagging", f"init_from={parent}", "model.characters=lstm", code=2)
        assert "comes with its own model, which differs" in capsys.readouterr().err
        texts = ["data=python_docs_topic", "task=classification"]
        groundup("finetune", *texts, *QUICK[:-1], f"init_from={parent}", code=2)
        assert f"{parent} has model.characters=cnn" in (said := capsys.readouterr().err)
        assert "task=classification does not. Try task=tagging, or a run without" in said
        pytest.importorskip("onnxscript")
        groundup("export", f"run={parent}", "format=onnx", f"output={parent / 'model.onnx'}", code=2)
        assert "model.characters is not part of a graph" in capsys.readouterr().err


def facts(labels: tuple[str, ...] = ()) -> Facts:
    return Facts(vocab_size=12, **SPECIAL, labels=labels, label_counts=(1,) * len(labels))


def saved(task, folder: Path) -> RunFolder:
    """A run folder with the weights of ``task``."""
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": task.state_dict(), "facts": task.facts.as_dict()}, folder / "checkpoints" / "best.ckpt")
    return RunFolder(folder)


def classifier(*labels: str) -> Classification:
    return Classification(TransformerEncoder(12, **SIZES), facts(labels), TOKENIZER)


@pytest.mark.parametrize(
    ("labels", "both", "new"),
    [
        (("art", "law", "sport"), (), "head.linear.weight, head.linear.bias"),
        (("z", "x", "y"), ("z", "x", "y"), "none"),
        (("art", "z", "law", "x"), ("z", "x"), "none"),
        (("x", "y", "z"), ("x", "y", "z"), "none"),
    ],
)
def test_rows_of_a_head_are_found_by_the_names_of_their_labels(labels, both, new, tmp_path):
    known = ("x", "y", "z")
    parent, child = classifier(*known), classifier(*labels)
    before = {name: value.clone() for name, value in child.state_dict().items()}
    said, random = adopt_weights(child, {"": saved(parent, tmp_path)})
    for i, label in enumerate(labels):
        for name in ("head.linear.weight", "head.linear.bias"):
            from_parent = label in both
            expected = parent.state_dict()[name][known.index(label)] if from_parent else before[name][i]
            assert torch.equal(child.state_dict()[name][i], expected)
    assert said[-1] == f"new, with random weights: {new}" and random == [
        one for one in new.split(", ") if one != "none"
    ]
    body = len(child.model.state_dict())
    assert f" {body + (2 if both else 0)} tensors loaded" in said[0]
    if 0 < len(both) < len(labels):
        assert "the rows of z, x, new those of art, law" in said[0]


def test_a_chain_takes_pairs_of_tags_that_both_know(tmp_path):
    def tagger(*tags: str) -> Tagging:
        torch.manual_seed(1)
        made = Tagging(TransformerEncoder(12, **SIZES), facts(tags), TOKENIZER, crf=True)
        torch.nn.init.normal_(made.chain.transitions)
        return made

    parent = tagger("O", "B-x", "I-x")
    run = saved(parent, tmp_path)
    for tags, both in ((("ADJ", "NOUN", "VERB"), []), (("B-y", "I-x", "O"), [(1, 2), (2, 0)])):
        child = tagger(*tags)
        before = child.chain.transitions.detach().clone()
        _, random = adopt_weights(child, {"": run})
        for one, known in both:
            for other, also_known in both:
                before[one, other] = parent.chain.transitions[known, also_known]
        assert torch.equal(child.chain.transitions, before)
        assert ("chain.transitions" in random) == (not both)


def test_of_parts_all_that_stays_random_is_told_and_all_that_is_told_as_loaded_is(tmp_path):
    wide = SIZES | {"width": 24}
    encoder = MaskedLM(TransformerEncoder(12, **wide), facts(), TOKENIZER)
    decoder = Translation(
        EncoderDecoder(
            12, partial(TransformerEncoder, **SIZES), partial(TransformerDecoder, **SIZES, cross_attention=True)
        ),
        facts(),
        TOKENIZER,
        decoding=None,
    )
    torch.manual_seed(1)
    child = Translation(
        EncoderDecoder(
            12,
            partial(TransformerEncoder, **wide),
            partial(TransformerDecoder, **SIZES, cross_attention=True),
            shared_embedding=False,
        ),
        facts(),
        TOKENIZER,
        decoding=None,
        tied=False,
        pointer=True,
    )
    before = {name: value.clone() for name, value in child.state_dict().items()}
    folders = {"encoder": saved(encoder, tmp_path / "encoder"), "decoder": saved(decoder, tmp_path / "decoder")}
    _, new = adopt_weights(child, folders)
    for part in ("encoder", "decoder"):
        theirs = encoder.model if part == "encoder" else decoder.model.decoder
        for name, value in getattr(child.model, part).state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name])
    others = [name for name in before if not name.startswith(("model.encoder.", "model.decoder."))]
    assert {"model.bridge.weight", "head.weight"} < set(others)
    assert all(torch.equal(child.state_dict()[name], before[name]) for name in others)
    assert set(others) == set(new)
