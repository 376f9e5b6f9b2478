"""Weights and vocabularies cross the border and come back: the same logits, the same text, the same tokens."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from types import SimpleNamespace

import pytest
import torch
from foreign import LINES, bring, byte_level, word_pieces
from tokenizers import Regex, normalizers, pre_tokenizers

from groundup.decoding.sampling import Greedy
from groundup.errors import UserError
from groundup.exchange.weights import places_in
from groundup.models.lora import add_adapters, merge
from groundup.stages.export_hf import export_hf
from groundup.stages.importing import checked, look, of_shapes
from groundup.stages.loading import load_network
from groundup.text.foreign_file import LETTERS

transformers = pytest.importorskip("transformers")


def theirs(family: str):
    """(model, tokenizer) of Transformers."""
    wide = transformers.PreTrainedTokenizerFast
    if family == "bert":
        made = word_pieces()
        names = {
            "pad_token": "[PAD]",
            "unk_token": "[UNK]",
            "cls_token": "[CLS]",
            "sep_token": "[SEP]",
            "mask_token": "[MASK]",
        }
        tokenizer = wide(tokenizer_object=made, model_input_names=["input_ids", "token_type_ids"], **names)
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
        model = transformers.BertForMaskedLM(
            transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes)
        )
    elif family == "gpt2":
        name = "<|endoftext|>"
        tokenizer = wide(tokenizer_object=byte_level([name]), eos_token=name, bos_token=name, unk_token=name)
        sizes = {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0}
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=len(tokenizer), **sizes))
    else:
        special = ["<unk>", "<s>", "</s>"] if family == "llama" else ["<|endoftext|>"]
        made = byte_level(special, "<s>" if family == "llama" else None)
        names = {"unk_token": "<unk>", "bos_token": "<s>"} if family == "llama" else {}
        if family == "qwen2":  # AutoTokenizer reads every qwen2 with these two, whatever its file says
            pattern = Regex(LETTERS)
            made.normalizer = normalizers.NFC()
            made.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Split(pattern, "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
            )
        tokenizer = wide(tokenizer_object=made, eos_token=special[-1], **names)
        sizes = {"hidden_size": 32, "intermediate_size": 88, "num_hidden_layers": 2, "num_attention_heads": 4}
        sizes |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}
        if family == "llama":
            config = transformers.LlamaConfig(vocab_size=len(tokenizer), rope_theta=50_000.0, **sizes)
            model = transformers.LlamaForCausalLM(config)
        else:  # more rows than the vocabulary has entries, one matrix for both ends, and as many key-value heads as heads
            sizes["num_key_value_heads"] = 4
            config = transformers.Qwen2Config(vocab_size=len(tokenizer) + 8, tie_word_embeddings=True, **sizes)
            model = transformers.Qwen2ForCausalLM(config)
    for name, parameter in model.named_parameters():  # biases and gains, too, which start at zero and one
        torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
        if parameter.ndim == 1 and name.endswith("weight"):
            parameter.data += 1
    return model.eval(), tokenizer


@pytest.fixture(scope="module", params=["bert", "gpt2", "llama", "qwen2"])
def crossed(request, tmp_path_factory):
    """A model of theirs, the run that was imported from it, and the folder that was exported from that run."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp(request.param)
    model, tokenizer = theirs(request.param)
    model.save_pretrained(folder / "theirs")
    tokenizer.save_pretrained(folder / "theirs")
    run = load_network(bring(folder / "theirs", folder / "run").path, use="evaluate")
    export_hf(run, folder / "ours", "mit")
    return SimpleNamespace(
        family=request.param, folder=folder, model=model, tokenizer=tokenizer, run=run, back=folder / "ours"
    )


def logits_of(run, ids):
    task = run.task
    with torch.inference_mode():
        return task.head(task.hidden_states({"input_ids": ids}))


def auto(family):
    return transformers.AutoModelForMaskedLM if family == "bert" else transformers.AutoModelForCausalLM


def test_logits_are_theirs_in_both_directions(crossed):
    ids = torch.randint(5, crossed.tokenizer.vocab_size, (3, 60))
    kinds = {}
    if crossed.family == "bert":  # a pair, whose second text is of another type
        ids[:, 20] = ids[:, 59] = crossed.tokenizer.sep_token_id
        kinds = {"token_type_ids": (torch.arange(60) > 20).long().expand(3, 60)}
    back = auto(crossed.family).from_pretrained(crossed.back).eval()
    with torch.inference_mode():
        expected, returned = crossed.model(ids, **kinds).logits, back(ids, **kinds).logits
    assert expected.std() > 0.5  # or equal logits would say little
    torch.testing.assert_close(logits_of(crossed.run, ids), expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(returned, expected, atol=1e-4, rtol=0)


def test_tokens_are_theirs_in_both_directions(crossed):
    back = transformers.AutoTokenizer.from_pretrained(crossed.back)
    for line in LINES:
        expected = crossed.tokenizer(line, add_special_tokens=False)["input_ids"]
        assert crossed.run.tokenizer.encode(line) == expected
        assert back(line)["input_ids"] == crossed.tokenizer(line)["input_ids"]


def test_greedy_text_is_theirs(crossed):
    if crossed.family == "bert":
        pytest.skip("an encoder writes no text")
    task, facts = crossed.run.task, crossed.run.facts
    ours = "".join(task.continuation("The with statement", Greedy(max_new_tokens=20), 0))
    given = crossed.tokenizer("The with statement", return_tensors="pt")
    for model in (crossed.model, auto(crossed.family).from_pretrained(crossed.back).eval()):
        written = model.generate(
            input_ids=given["input_ids"],
            attention_mask=torch.ones_like(given["input_ids"]),
            max_new_tokens=20,
            do_sample=False,
            suppress_tokens=[*task.facts.unwritten_ids] or None,
            pad_token_id=facts.eos_id,
        )[0][given["input_ids"].shape[1] :]
        assert ours == crossed.tokenizer.decode(written, skip_special_tokens=True)


def test_a_batch_of_prompts_goes_on_as_each_by_itself(crossed):
    if crossed.family == "bert":
        pytest.skip("an encoder writes no text")
    tokenizer = transformers.AutoTokenizer.from_pretrained(crossed.back)
    model = auto(crossed.family).from_pretrained(crossed.back).eval()

    def written(prompts):
        given = tokenizer(prompts, padding=True, return_tensors="pt")
        found = model.generate(**given, max_new_tokens=8, do_sample=False, pad_token_id=tokenizer.pad_token_id)
        return tokenizer.batch_decode(found[:, given["input_ids"].shape[1] :], skip_special_tokens=True)

    prompts = ["The", "The with statement closes the file"]
    assert written(prompts) == [*written(prompts[:1]), *written(prompts[1:])]


def test_a_run_that_was_imported_is_a_run_like_any_other(crossed):
    folder = crossed.run.folder
    assert folder.status()["state"] == "done"
    assert folder.read_json("provenance.json")["imported"]["family"] == crossed.family
    assert 'license: "mit"' in (crossed.back / "README.md").read_text()


def test_a_run_with_adapters_is_exported_as_it_answers(crossed, tmp_path):
    run = load_network(crossed.run.folder.path, use="evaluate")
    add_adapters(run.task.model, 2, 4.0, 0.0, ["attention", "feed_forward"], [])
    for name, parameter in run.task.model.named_parameters():
        if name.endswith(".lora_b"):
            torch.nn.init.normal_(parameter, std=0.1)
    merge(run.task.model)
    run.config.lora = {"rank": 2, "alpha": 4.0}
    export_hf(run, tmp_path / "ours", None)
    ids = torch.randint(5, crossed.tokenizer.vocab_size, (3, 60))
    ids[ids == crossed.tokenizer.sep_token_id] += 1  # one text a row
    ours = logits_of(run, ids)
    with torch.inference_mode():
        returned = auto(crossed.family).from_pretrained(tmp_path / "ours").eval()(ids).logits
    assert (ours - logits_of(crossed.run, ids)).abs().max() > 0.1
    cards = [
        (folder / "README.md").read_text().partition(" parameters")[0] for folder in (tmp_path / "ours", crossed.back)
    ]
    assert cards[0].rpartition(" ")[2] == cards[1].rpartition(" ")[2]
    torch.testing.assert_close(returned, ours, atol=1e-4, rtol=0)


def test_export_leaves_nothing_where_something_is(crossed, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        export_hf(crossed.run, tmp_path, None)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def folder(crossed, tmp_path):
    shutil.copytree(crossed.folder / "theirs", tmp_path / "copy")
    return tmp_path / "copy"


def compared(folder):
    opened, tokenizer, facts, config = look(folder)
    return checked(of_shapes(config, facts, tokenizer, opened), opened)


def changed(folder, file="config.json", **values):
    settings = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**settings, **values}))


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"auto_map": {"AutoModel": "x.Y"}}, "auto_map"),
        ({"model_type": "mamba"}, "model_type=mamba"),
        ({"num_hidden_layers": "2", "n_layer": "2"}, "_layer"),  # numbers that are none
        ({"num_hidden_layers": 2.5, "n_layer": 2.5}, "model.layers = 2.5"),
        ({"num_attention_heads": 0, "n_head": 0}, "model.heads"),
        ({"max_position_embeddings": [64], "n_positions": [64]}, "_position"),
        ({"layer_types": 5}, "layers of 5"),
        ({"architectures": ["Other"]}, "Other"),
        ({"rope_scaling": {"rope_type": "yarn"}, "rope_parameters": None}, "rope_scaling"),
        ({"num_hidden_layers": 10**9, "n_layer": 10**9}, "get a whole copy|Get a whole copy"),
        ({"hidden_size": 48, "n_embd": 48}, "config.json asks for|holds"),
    ],
)
def test_what_has_no_counterpart_is_named(folder, values, named):
    changed(folder, **values)
    with pytest.raises(UserError, match=named):
        compared(folder)


def test_links_are_not_followed_and_pickles_not_read(folder):
    weights = folder / "model.safetensors"
    os.replace(weights, folder / "elsewhere")
    weights.symlink_to(folder / "elsewhere")
    with pytest.raises(UserError, match="link"):
        look(folder)
    weights.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(UserError, match="pickles are not read"):
        look(folder)


def test_a_file_of_weights_that_is_cut_is_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(UserError, match="does not lie in its"):
        places_in(weights)
