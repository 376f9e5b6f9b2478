"""``init_from``: a new run that starts from the architecture and the tokenizer of earlier ones; ``inherited_weights`` has the rest.

``init_from=RUN`` takes a whole model; ``init_from.encoder=RUN init_from.decoder=RUN`` make an encoder-decoder of parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from groundup.config.places import resolve
from groundup.config.signatures import OF_STAGE
from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.models.backbone import Backbone
from groundup.runs.about import choices_of
from groundup.runs.checkpoints import load_checkpoint, require_finite
from groundup.runs.folder import RunFolder
from groundup.runs.reference import best_checkpoint, open_run
from groundup.stages.stored import check_config, check_stored
from groundup.text.tokenizer import Tokenizer

INHERITED = ("size", "model", "tokenizer", "target_tokenizer")
WHOLE = ""  # the part that is the whole model
PARTS = ("encoder", "decoder")
Parents = dict[str, RunFolder]  # part -> the run it comes from


def open_parents(cfg: Config) -> Parents:
    """The runs that ``cfg.init_from`` names; they are written back, as ``last`` would be another run tomorrow."""
    named = {WHOLE: cfg.init_from} if isinstance(cfg.init_from, str) else dict(cfg.init_from or {})
    parents = {part: open_run(name, Path(cfg.paths.logs), "init_from") for part, name in named.items() if name}
    for parent in parents.values():
        config = Config(parent.read_config())
        if config.get("int8"):
            raise UserError(
                f"init_from: {parent.path} is quantized, to be used and not trained. Try init_from={config.get('run')}, "
                "which it was made of"
            )
        check_config(parent, config)
        file = best_checkpoint(parent)
        checkpoint = load_checkpoint(file, mmap=True)
        check_stored(parent, config, checkpoint, file)
        require_finite(checkpoint["state_dict"], file)
    if WHOLE in parents:
        cfg.init_from = str(parents[WHOLE].path)
    elif parents:
        cfg.init_from = {part: str(parents[part].path) if part in parents else None for part in PARTS}
    return parents


def inherit(cfg: Config, parents: Parents, overrides: Sequence[str]) -> None:
    """Puts the earlier runs' sizes, models and tokenizers into ``cfg``; dropout and the like may still be set, and what a
    model can do without, as ``characters``, may be added.

    Raises UserError when the command line asks for another architecture or tokenizer.
    """
    if WHOLE in parents:
        theirs = _described(parents[WHOLE])
        _take(cfg, {group: (parents[WHOLE], theirs.get(group)) for group in INHERITED if group in cfg}, overrides)
    elif parents:
        _inherit_parts(cfg, parents, overrides)


def inherited_choices(parents: Parents, choices: Mapping[str, str | None]) -> dict[str, str | None]:
    """The choices of a run: those of ``model`` and ``size`` are the earlier run's where the model comes from there."""
    theirs = choices_of(parents[WHOLE].status()) if WHOLE in parents else choices
    return {**choices, **{group: theirs.get(group) for group in ("model", "size")}}


def inherited_tokenizers(cfg: Config, parents: Parents) -> tuple[Tokenizer | None, Tokenizer | None]:
    """The tokenizers of source and target. None: as ``cfg`` describes it; for a target that it does not describe, the source's."""
    files: dict[str, Path | None]
    if WHOLE in parents:
        files = {"tokenizer": parents[WHOLE].tokenizer, "target_tokenizer": parents[WHOLE].target_tokenizer}
    else:
        files = {group: file for group, (_, file, _) in _tokenizers_of_parts(cfg, parents).items()}
    source, target = (_load(files.get(group)) for group in ("tokenizer", "target_tokenizer"))
    return source, target


def _take(cfg: Config, coming: Mapping[str, tuple[RunFolder, Any]], overrides: Sequence[str]) -> None:
    """Puts what comes from runs into ``cfg`` (key -> its run and its value), and keeps the free arguments of a model.

    Raises UserError where the command line asks for something else.
    """
    kept: dict[str, Any] = {}
    for override in overrides:
        key = override.lstrip("+").partition("=")[0].rpartition("@")[2]
        if key == "model.dropout":  # of an encoder-decoder, that of each side
            sides = [f"model.{part}.dropout" for part in PARTS if part in cfg.model]
            kept = {key: cfg.at(key), **{side: cfg.at(side) for side in sides}, **kept}
            continue
        place = next((place for place in coming if key == place or key.startswith(f"{place}.")), None)
        if place is None:
            continue
        parent, value = coming[place]
        inner = key.removeprefix(place).lstrip(".")
        theirs = Config(value or {}).at(inner) if inner else value
        free = _free_arguments(value) | _additions(value) if key.startswith("model") else frozenset()
        if key.rpartition(".")[2] in free:
            kept[key] = cfg.at(key)
        elif _differs(cfg.at(key), theirs, free):
            raise UserError(
                f"{override}: init_from={parent.path} comes with its own {place}, which differs. Leave out {override}, "
                "or train from random weights without init_from"
            )
    for place, (_, value) in coming.items():
        if place == "model":
            asked = {one: cfg.model.get(one) for one in _additions(value)}
            kept |= {f"model.{one}": setting for one, setting in asked.items() if setting is not None}
        cfg.put(place, value)
    for key, value in kept.items():
        cfg.put(key, value)


def _described(parent: RunFolder) -> dict[str, Any]:
    """The configuration of a run; its model without what it started from, as its weights come themselves."""
    config = parent.read_config()
    return {**config, "model": {key: value for key, value in config["model"].items() if key not in OF_STAGE["model"]}}


def _inherit_parts(cfg: Config, parents: Parents, overrides: Sequence[str]) -> None:
    if not all(part in cfg.model for part in PARTS):
        raise UserError(
            "init_from.encoder and init_from.decoder make an encoder-decoder. Try model=transformer_encoder_decoder"
        )
    coming: dict[str, tuple[RunFolder, Any]] = {}
    for part, parent in parents.items():
        theirs = _described(parent)["model"]
        node = theirs.get(part) or {**theirs, "_partial_": True}
        found = cast(type[Backbone], resolve(node["_target_"], "model"))
        if found.kind != part:
            name = found.__name__
            raise UserError(f"init_from.{part}={parent.path} is a {name}. Give a run of a model that is, or has, one")
        coming[f"model.{part}"] = (parent, {**node, "cross_attention": True} if part == "decoder" else node)
    tokenizers = _tokenizers_of_parts(cfg, parents)
    coming |= {group: (parent, settings) for group, (parent, _, settings) in tokenizers.items()}
    _take(cfg, coming, overrides)
    runs = {parent.path for parent in parents.values()}
    if len(runs) == 1 and len(parents) == len(PARTS):
        cfg.model.shared_embedding = parents["encoder"].read_config()["model"].get("shared_embedding", False)
    elif len(runs) > 1 or "target_tokenizer" in tokenizers:
        cfg.model.shared_embedding = False  # each comes with its own


def _tokenizers_of_parts(cfg: Config, parents: Parents) -> dict[str, tuple[RunFolder, Path | None, Any]]:
    """Which tokenizers come with the parts: group -> the run, the file, the settings that it was made with.

    An encoder's is that of its run's source. A decoder's is that of what its run wrote; where nothing asks for two, it
    serves the source as well. None for the target: the source's is the same.
    """
    found: dict[str, tuple[RunFolder, Path | None, Any]] = {}
    if encoder := parents.get("encoder"):
        found["tokenizer"] = (encoder, encoder.tokenizer, encoder.read_config()["tokenizer"])
    if decoder := parents.get("decoder"):
        two = decoder.target_tokenizer.exists()
        group = "target_tokenizer" if two else "tokenizer"
        file = decoder.target_tokenizer if two else decoder.tokenizer
        if not (encoder or two or cfg.get("target_tokenizer")):
            found["tokenizer"] = (decoder, file, decoder.read_config()[group])
        elif encoder and Tokenizer.load(encoder.tokenizer).fingerprint == Tokenizer.load(file).fingerprint:
            found["target_tokenizer"] = (decoder, None, None)
        else:
            found["target_tokenizer"] = (decoder, file, decoder.read_config()[group])
    return found


def _load(file: Path | None) -> Tokenizer | None:
    return Tokenizer.load(file) if file and file.exists() else None


def _free_arguments(model: Any) -> frozenset[str]:
    """Arguments of a model and of its sides, as a config describes them, that change no tensor."""
    if not isinstance(model, Mapping):
        return frozenset()
    own = (
        cast(type[Backbone], resolve(model["_target_"], "model")).free_arguments if "_target_" in model else frozenset()
    )
    return own.union(*map(_free_arguments, model.values()))


def _additions(model: Any) -> frozenset[str]:
    """Of a model that a config describes, the arguments for what it can do without and is without."""
    if not (isinstance(model, Mapping) and "_target_" in model):
        return frozenset()
    found = cast(type[Backbone], resolve(model["_target_"], "model")).additions
    return frozenset(one for one in found if model.get(one) is None)


def _differs(mine: Any, theirs: Any, free: frozenset[str]) -> bool:
    if not (isinstance(mine, Mapping) and isinstance(theirs, Mapping)):
        return bool(mine != theirs)
    names = (mine.keys() | theirs.keys()) - free
    return any(_differs(mine.get(name), theirs.get(name), free) for name in names)
