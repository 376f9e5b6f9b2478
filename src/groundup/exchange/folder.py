"""A folder of Transformers' on disk, opened as data: what it holds is looked at, compared and only then read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.errors import UserError
from groundup.exchange.bert import BERT, ROBERTA
from groundup.exchange.family import Family, Head, Weight, named
from groundup.exchange.gpt2 import GPT2
from groundup.exchange.llama import LLAMA, QWEN2
from groundup.exchange.weights import Place, places_of
from groundup.system.files import read_json

FAMILIES = {family.name: family for family in (BERT, ROBERTA, GPT2, LLAMA, QWEN2)}
INDEX = "model.safetensors.index.json"
_NOT_HERE = ("quantization_config", "auto_map", "adapter_config", "num_experts", "num_local_experts")


@dataclass(frozen=True)
class Opened:
    """What a folder says of itself. ``options``: of our model; ``tied``: its output matrix is its embedding."""

    path: Path
    config: Mapping[str, Any]
    family: Family
    head: Head
    options: dict[str, Any]
    places: dict[str, Place]
    tied: bool

    @classmethod
    def of(cls, path: Path) -> Opened:
        """Reads settings and the headers of weights. Raises UserError that names what is missing or has no counterpart."""
        if not path.is_dir():
            raise UserError(f"path={path}: there is no such folder. Give one with config.json and *.safetensors")
        config = _settings(path)
        family = FAMILIES.get(str(config.get("model_type")))
        if family is None:
            known = ", ".join(FAMILIES)
            raise UserError(
                f"{path}: model_type={config.get('model_type')!s:.40} has no counterpart here, only {known}"
            )
        for name in _NOT_HERE:
            if config.get(name):
                raise UserError(f"{path}: config.json has {name}, which has no counterpart here. Choose another model")
        named = config.get("architectures") or [next(iter(family.heads))]
        name = str(named[0]) if isinstance(named, list) and named else ""
        head = family.heads.get(f"{name}/{config.get('problem_type')}", family.heads.get(name))
        if head is None:
            raise UserError(f"{path}: {named!s:.80} has no counterpart here, only {', '.join(family.heads)}")
        if head.task == "regression":  # theirs says nothing of the scores that it has seen
            raise UserError(f"{path}: problem_type=regression has no counterpart here. Choose another model")
        options = family.options(config)
        options = {name: None if type(value) is int and value == 0 else value for name, value in options.items()}
        places = places_of(path, _weight_files(path))
        tied = config.get("tie_word_embeddings")
        tied = (family.tied if tied is None else tied is True) or head.tied not in places
        return cls(path, config, family, head, options, places, tied)

    def weights(self) -> dict[str, tuple[Weight, list[Place]]]:
        """What each tensor of our task is made of. Raises UserError for a tensor that is missing or has no counterpart."""
        family, head = self.family, self.head
        prefix = family.prefix if any(name.startswith(family.prefix) for name in self.places) else ""
        body = tuple(self._with_first_type(one) for one in family.body)
        body += (family.segments,) if family.segments and self.options.get("separator") else ()
        found, used = dict[str, tuple[Weight, list[Place]]](), set[str]()
        for ours, weight in named(head, body, self.options["layers"], prefix, self.tied):
            if missing := [name for name in weight.theirs if name not in self.places]:
                raise UserError(
                    f"{self.path} lacks {missing[0]}, which a {family.name} has. Get a whole copy of the folder"
                )
            found[ours] = (weight, [self.places[name] for name in weight.theirs])
            used |= {*weight.theirs}
        ignored = [*family.ignored, *([head.tied] if head.tied else [])]
        for name in sorted(self.places.keys() - used):
            if not any(part in name for part in ignored):
                raise UserError(f"{self.path}: the tensor {name:.100} has no counterpart here. Choose another model")
        return found

    def _with_first_type(self, weight: Weight) -> Weight:
        """Where every text is of one type, its vector is part of each position's."""
        segments = self.family.segments
        if segments is None or self.options.get("separator") or weight.ours != "position.weight":
            return weight
        return weight._replace(theirs=(*weight.theirs, *segments.theirs), split="added")


def _settings(path: Path) -> dict[str, Any]:
    """config.json, with the settings of rotary positions where older versions had them."""
    config = _table(path / "config.json")
    rotary = config.get("rope_parameters") or config.get("rope_scaling")
    if isinstance(rotary, dict):
        kind = rotary.get("rope_type", rotary.get("type", "default"))
        if kind != "default":
            raise UserError(
                f"{path}: rope_scaling of the kind {kind!s:.20} has no counterpart here. Choose another model"
            )
        config = {**config, "rope_scaling": None, "rope_theta": config.get("rope_theta") or rotary.get("rope_theta")}
    types = config.get("layer_types")
    kinds = {str(kind) for kind in (types if isinstance(types, list) else [types] if types else [])} - {
        "full_attention"
    }
    if kinds:
        raise UserError(f"{path}: layers of {min(kinds):.40} have no counterpart here. Choose another model")
    return config


def tokenizer_settings(path: Path) -> dict[str, Any]:
    """tokenizer_config.json and special_tokens_map.json, where they are."""
    found: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (path / name).exists():
            found |= {key: value for key, value in _table(path / name).items() if value is not None}
    return found


def _table(file: Path) -> dict[str, Any]:
    if file.is_symlink():
        raise UserError(f"{file} is a link, and links of others are not followed. Put a copy there: cp -L")
    if not file.is_file():
        raise UserError(f"{file.parent} has no {file.name}. Give a folder that Transformers wrote")
    value = read_json(file)
    if not isinstance(value, dict):
        raise UserError(f"{file} holds a {type(value).__name__}, not a table. Get a whole copy of it")
    return value


def _weight_files(path: Path) -> list[Path]:
    """The file of weights, or those that an index names, which lie in the same folder."""
    whole = path / "model.safetensors"
    if whole.is_symlink() or whole.exists():
        return [_own(whole)]
    if not (path / INDEX).exists():
        hint = "Save it as safetensors: model.save_pretrained(FOLDER) of Transformers"
        pickled = (path / "pytorch_model.bin").exists()
        raise UserError(f"{path} has no model.safetensors{', and pickles are not read' if pickled else ''}. {hint}")
    names = _table(path / INDEX).get("weight_map")
    if not isinstance(names, dict):
        raise UserError(f"{path / INDEX} names no files. Get a whole copy of it")
    files = sorted({str(name) for name in names.values()})
    for name in files:
        if name != Path(name).name or not name.endswith(".safetensors"):
            raise UserError(f"{path / INDEX} names {name!r:.80}, which is no file beside it. Get a whole copy of it")
        if not (path / name).is_file():
            raise UserError(f"{path} lacks {name:.80}, which its index names. Get a whole copy of the folder")
    return [_own(path / name) for name in files]


def _own(file: Path) -> Path:
    if file.is_symlink():
        raise UserError(f"{file} is a link, and links of others are not followed. Put a copy there: cp -L")
    return file
