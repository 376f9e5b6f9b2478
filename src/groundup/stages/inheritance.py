"""``init_from``: a new run that starts from the architecture, the tokenizer and the weights of earlier ones.

``init_from=RUN`` takes a whole model; ``init_from.encoder=RUN init_from.decoder=RUN`` make an encoder-decoder of parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from groundup.config.tree import Config
from groundup.data.tokenizer import Tokenizer
from groundup.errors import UserError
from groundup.runs.checkpoints import load_checkpoint
from groundup.runs.folder import RunFolder
from groundup.runs.reference import best_checkpoint, open_run
from groundup.tasks.base import Task

INHERITED = ("size", "model", "tokenizer", "target_tokenizer")
FREE = ("dropout", "locked_dropout", "embedding_dropout", "weight_drop", "max_length")  # change no tensor's shape
WHOLE = ""  # the part that is the whole model
PARTS = ("encoder", "decoder")
Parents = dict[str, RunFolder]  # part -> the run it comes from


def open_parents(cfg: Config, stages: Sequence[str]) -> Parents:
    """The runs that ``cfg.init_from`` names; they are written back, as ``last`` would be another run tomorrow."""
    named = {WHOLE: cfg.init_from} if isinstance(cfg.init_from, str) else dict(cfg.init_from or {})
    parents = {part: open_run(name, Path(cfg.paths.logs), stages) for part, name in named.items() if name}
    for parent in parents.values():
        if "model" not in parent.read_config():
            stage = parent.status().get("stage")
            raise UserError(f"init_from={parent.path} holds no model: it is a run of `groundup {stage}`")
    if WHOLE in parents:
        cfg.init_from = str(parents[WHOLE].path)
    elif parents:
        cfg.init_from = {part: str(parents[part].path) if part in parents else None for part in PARTS}
    return parents


def inherit(cfg: Config, parents: Parents, overrides: Sequence[str]) -> None:
    """Puts the earlier runs' sizes, models and tokenizers into ``cfg``; dropout and the like may still be set.

    Raises UserError when the command line asks for another architecture or tokenizer.
    """
    if WHOLE in parents:
        _inherit_all(cfg, parents[WHOLE], overrides)
    elif parents:
        _inherit_parts(cfg, parents)


def inherited_tokenizers(parents: Parents) -> tuple[Tokenizer | None, Tokenizer | None]:
    """Those of source and target. None for the target: the same."""
    if not parents:
        return None, None
    files: list[Path | None]
    if WHOLE in parents:
        files = [parents[WHOLE].tokenizer, parents[WHOLE].target_tokenizer]
    else:
        both = [parents.get(part) for part in PARTS]
        files = [one.tokenizer if one else None for one in both]
        files = files if files[0] else [files[1], None]
    source, target = (Tokenizer.load(file) if file and file.exists() else None for file in files)
    return source, None if target is None or target.fingerprint == source.fingerprint else target  # type: ignore[union-attr]


def adopt_weights(task: Task, parents: Parents) -> list[str]:
    """Copies what fits from the earlier runs' best weights into ``task``; a line for each says what did and did not.

    Every tensor of a body (``model.*``) must fit: a body half loaded is not a pretrained one. Heads may differ, and
    what a decoder has for its encoder alone begins anew.

    Raises UserError when a body does not fit.
    """
    return [_adopt(task, part, parent) for part, parent in parents.items()]


def _inherit_all(cfg: Config, parent: RunFolder, overrides: Sequence[str]) -> None:
    theirs = parent.read_config()
    free = []
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        group, _, name = key.partition(".")
        if group not in INHERITED:
            continue
        if group == "model" and name.rpartition(".")[2] in FREE:
            free.append(key)
        elif _differs(cfg[group], theirs.get(group)):
            raise UserError(
                f"{override}: init_from={parent.path} comes with its own {group}, which differs. Leave out {override}, "
                "or train from random weights without init_from"
            )
    kept = {key: cfg.at(key) for key in free}
    for group in INHERITED:
        if group in cfg:
            cfg[group] = theirs.get(group)
    for key, value in kept.items():
        cfg.put(key, value)


def _inherit_parts(cfg: Config, parents: Parents) -> None:
    if not all(part in cfg.model for part in PARTS):
        raise UserError(
            "init_from.encoder and init_from.decoder make an encoder-decoder. Try model=transformer_encoder_decoder"
        )
    for part, parent in parents.items():
        theirs = parent.read_config()["model"]
        node = theirs.get(part) or {**theirs, "_partial_": True}
        kind = str(node["_target_"]).rpartition(".")[2]
        if part not in kind.lower():
            raise UserError(f"init_from.{part}={parent.path} is a {kind}. Give a run of a model that is, or has, one")
        cfg.model[part] = {**node, "cross_attention": True} if part == "decoder" else node
    if len(parents) == len(PARTS) and parents["encoder"].path != parents["decoder"].path:
        cfg.model.shared_embedding = False  # each comes with its own


def _adopt(task: Task, part: str, parent: RunFolder) -> str:
    theirs = load_checkpoint(best_checkpoint(parent))["state_dict"]
    if part != WHOLE:
        theirs = _of_part(theirs, part)
    ours = task.state_dict()
    loaded = {name: value for name, value in theirs.items() if name in ours and ours[name].shape == value.shape}
    missing = sorted(ours.keys() - theirs.keys())
    unexpected = sorted(theirs.keys() - ours.keys())
    mismatched = sorted(ours.keys() & theirs.keys() - loaded.keys())
    wrong = [*missing, *mismatched] if part == WHOLE else [*unexpected, *mismatched]
    if wrong := [name for name in wrong if name.startswith("model.")]:
        raise UserError(
            f"init_from={parent.path} has another architecture: {_names(wrong)} would keep random weights. "
            "Leave out model=... and size=... to take the architecture of the run"
        )
    task.load_state_dict({**ours, **loaded})
    new = missing if part == WHOLE else [name for name in missing if name.startswith(f"model.{part}.")]
    where = f"init_from.{part}" if part else "init_from"
    return (
        f"{where} {parent.path}: {len(loaded)} tensors loaded; new: {_names(new)}; "
        f"left behind: {_names(unexpected)}; of another shape: {_names(mismatched)}"
    )


def _of_part(weights: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Of a run's weights those of its encoder or decoder, under the names that they have in an encoder-decoder."""
    whole = any(name.startswith(f"model.{part}.") for name in weights)
    if whole:
        return {name: value for name, value in weights.items() if name.startswith(f"model.{part}.")}
    return {
        name.replace("model.", f"model.{part}.", 1): value
        for name, value in weights.items()
        if name.startswith("model.")
    }


def _differs(mine: Any, theirs: Any) -> bool:
    if not (isinstance(mine, Mapping) and isinstance(theirs, Mapping)):
        return bool(mine != theirs)
    names = (mine.keys() | theirs.keys()) - set(FREE)
    return any(_differs(mine.get(name), theirs.get(name)) for name in names)


def _names(names: list[str], most: int = 4) -> str:
    if not names:
        return "none"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
