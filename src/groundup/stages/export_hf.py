"""``export format=hf``: a folder that Transformers loads, with the tokenizer and a model card."""

from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groundup import __version__
from groundup.config.signatures import parameters_of
from groundup.errors import UserError
from groundup.exchange.family import HEAD, MODEL, Family, Head, named, parted
from groundup.exchange.folder import FAMILIES
from groundup.exchange.vocabulary import written
from groundup.exchange.weights import write
from groundup.stages.build import task_word
from groundup.stages.model_card import model_card
from groundup.stages.network import NetworkRun
from groundup.system.files import full_disk, new_beside
from groundup.text.foreign_file import LETTERS

log = logging.getLogger(__name__)
PIPELINES = {
    "masked_lm": "fill-mask",
    "causal_lm": "text-generation",
    "classification": "text-classification",
    "multilabel": "text-classification",
    "regression": "text-classification",
    "tagging": "token-classification",
}


def export_hf(run: NetworkRun, output: Path, license: str | None) -> None:
    """Writes the folder under another name and renames it. Raises UserError that names what is in the way."""
    if output.is_symlink() or (output.exists() and (not output.is_dir() or any(output.iterdir()))):
        raise UserError(f"output={output} is there already, and is no empty folder. Try output={output}_2")
    family, name, settings = shape_of(run)
    tensors = dict(tensors_of(run, family, family.heads[name]))
    settings |= {
        "architectures": [name.partition("/")[0]],
        "vocab_size": run.facts.vocab_size,
        "torch_dtype": "float32",
        "groundup_version": __version__,
        **{f"{role}_token_id": getattr(run.facts, f"{role}_id") for role in ("pad", "bos", "eos")},
    }
    if thresholds := run.task.decision_thresholds():
        settings["decision_thresholds"] = thresholds  # which Transformers keeps, and its pipelines do not look at
    if run.facts.labels:
        settings["id2label"] = {str(number): label for number, label in enumerate(run.facts.labels)}
        settings["label2id"] = {label: number for number, label in enumerate(run.facts.labels)}
    texts = {
        "config.json": json.dumps(settings, ensure_ascii=False, indent=2) + "\n",
        **written(run.tokenizer, run.task.model.reads_both_ways, run.task.model.max_length),
        "README.md": model_card(run, PIPELINES[task_word(type(run.task))], license),
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    staged = new_beside(output.absolute())
    staged.mkdir()
    try:
        for file, text in texts.items():
            (staged / file).write_text(text, encoding="utf-8", newline="")
        shapes = {name: (torch.float32, tuple(value.shape)) for name, value in tensors.items()}
        write(staged / "model.safetensors", shapes, tensors.__getitem__)
        os.replace(staged, output)  # onto an empty folder, or nothing
        log.info("%s: a %s for Transformers, %s tensors", output, name.partition("/")[0], f"{len(tensors):,}")
        if task_word(type(run.task)) == "tagging" and "BertPreTokenizer" not in json.dumps(run.tokenizer.content):
            log.warning(
                "a pipeline takes a space that is a token of its own for a word, which `groundup predict` does not: "
                "its entities may be more. Tags of the tokens are the same"
            )
    except BaseException as error:
        shutil.rmtree(staged, ignore_errors=True)
        if isinstance(error, OSError) and (said := full_disk(error, output)):
            raise said from error
        raise


def shape_of(run: NetworkRun) -> tuple[Family, str, dict[str, Any]]:
    """The family that the run is one of, the name of its class there, and its settings there.

    Raises UserError that names the options which are in the way of the nearest.
    """
    model, word = run.task.model, task_word(type(run.task))
    heads = [(family, name, head) for family in FAMILIES.values() for name, head in family.heads.items()]
    fitting = [one for one in heads if one[2].task == word and one[0].model == f"transformer_{model.kind}"]
    options = options_of(run)
    if not fitting or options is None:
        words = ", ".join(dict.fromkeys(f"task={head.task}" for *_, head in heads))
        raise UserError(
            f"{run.folder.path} is of {type(model).__name__} for task={word}; Transformers has shapes for {words} of "
            "transformer_encoder and transformer_decoder. Choose such a run"
        )
    refusals: list[str] = []
    for family, name, head in fitting:  # RoBERTa computes what BERT does, which comes before it
        wrong = [f"task.{key}={value}" for key, value in head.options.items() if run.config.task.get(key) != value]
        if getattr(run.task, "apart", False):  # the texts of a pair
            wrong.append("task.pair=joint")
        try:
            found = family.settings(options)
        except UserError as error:
            refusals.append(str(error))
            continue
        if family.name == "qwen2" and json.dumps(LETTERS) not in json.dumps(run.tokenizer.content):
            raise UserError(
                "as qwen2, Transformers parts words in Qwen2's own way, and this run's tokenizer in another. "
                "Train it as a llama: groundup pretrain model.bias=none"
            )
        if wrong:
            raise UserError(
                f"as {name}, exports need {' '.join(wrong)}. Train it so: groundup finetune {' '.join(wrong)}"
            )
        found |= head.settings
        found["tie_word_embeddings"] = bool(run.config.task.get("tied", False))
        if family.segments is not None:
            found["type_vocab_size"] = 2
        if "rope_theta" in found:
            found.setdefault("num_key_value_heads", options["heads"])  # a qwen2 that does not say it has 32
            found["rope_parameters"] = {"rope_type": "default", "rope_theta": found["rope_theta"]}
        return family, name, found
    raise UserError(min(refusals, key=len))


def options_of(run: NetworkRun) -> dict[str, Any] | None:
    """Every option of the model, with what the constructor fills in; None for a model that is no Transformer."""
    model: Any = run.task.model
    parameters = parameters_of(type(model))
    if not model.blocks or not hasattr(model.blocks[0], "feed_forward") or parameters is None:
        return None
    options = {name: one.default for name, one in parameters[0].items()} | dict(run.config.model)
    block = model.blocks[0]
    norm = block.attention_norm
    return options | {
        "feed_forward_width": block.feed_forward.down.in_features,
        "norm_eps": norm.eps,
        "kv_heads": None if block.attention.kv_heads == block.attention.heads else block.attention.kv_heads,
        "head_width": None
        if block.attention.head_dim * block.attention.heads == model.width
        else block.attention.head_dim,
    }


def in_unit_of_data(run: NetworkRun, name: str, tensor: Tensor) -> Tensor:
    """A tensor of the last linear map, which gives deviations from the mean here, and there what the data has."""
    assert run.facts.scale is not None
    mean, deviation, *_ = run.facts.scale
    return tensor * deviation + (mean if name == "linear.bias" else 0.0)


def tensors_of(run: NetworkRun, family: Family, head: Head) -> dict[str, Tensor]:
    """Theirs by name, from the tensors of the task."""
    ours = run.plain_weights()
    model: Any = run.task.model
    task: Any = run.task
    queries = model.blocks[0].attention.heads * model.blocks[0].attention.head_dim
    tied = bool(run.config.task.get("tied", False))
    found: dict[str, Tensor] = {}
    for name, weight in named(head, family.body, len(model.blocks), family.prefix, tied):
        tensor = ours[name].float()
        if head.task == "regression" and name.startswith(f"{HEAD}linear."):
            tensor = in_unit_of_data(run, weight.ours, tensor)
        if head.task == "tagging" and name == f"{HEAD}linear.bias":
            tensor = task.inside(tensor)
        found |= zip(weight.theirs, parted(weight, tensor, queries), strict=True)
    if family.segments is not None:
        (name,) = family.segments.theirs
        stored = ours.get(MODEL + family.segments.ours)
        found[family.prefix + name] = torch.zeros(2, model.width) if stored is None else stored.float()
    return found
