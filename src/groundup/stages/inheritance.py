"""``init_from=RUN``: a new run that starts from the architecture, the tokenizer and the weights of an earlier one."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf, open_dict

from groundup.config.compose import resolved
from groundup.errors import UserError
from groundup.runs.checkpoints import load_checkpoint
from groundup.runs.folder import RunFolder
from groundup.runs.reference import best_checkpoint
from groundup.tasks.base import Task

INHERITED = ("size", "model", "tokenizer")
FREE = ("dropout", "locked_dropout", "embedding_dropout", "weight_drop", "max_length")  # change no tensor's shape


def inherit(cfg: DictConfig, parent: RunFolder, overrides: Sequence[str]) -> None:
    """Puts the earlier run's size, model and tokenizer into ``cfg``; dropout and the like may still be set.

    Raises UserError when the command line asks for another architecture or tokenizer.
    """
    theirs, mine = parent.read_config(), resolved(cfg)
    if "model" not in theirs:
        raise UserError(
            f"init_from={parent.path} holds no model: it is a run of `groundup {parent.status().get('stage')}`"
        )
    free = {}
    for override in overrides:
        key = override.lstrip("+").partition("=")[0]
        group, _, name = key.partition(".")
        if group not in INHERITED:
            continue
        if group == "model" and name in FREE:
            free[name] = mine["model"][name]
        elif _differs(mine[group], theirs[group]):
            raise UserError(
                f"{override}: init_from={parent.path} comes with its own {group}, which differs. Leave out {override}, "
                "or train from random weights without init_from"
            )
    with open_dict(cfg):
        for group in INHERITED:
            cfg[group] = theirs[group]
        cfg.model = OmegaConf.merge(cfg.model, free)


def _differs(mine: dict, theirs: dict) -> bool:
    names = (mine.keys() | theirs.keys()) - set(FREE)
    return any(mine.get(name) != theirs.get(name) for name in names)


def adopt_weights(task: Task, parent: RunFolder) -> str:
    """Copies what fits from the earlier run's best weights into ``task``, and says what did and what did not.

    Every tensor of the body (``model.*``) must fit: a body half loaded is not a pretrained one. Heads may differ.

    Raises UserError when the body does not fit.
    """
    theirs = load_checkpoint(best_checkpoint(parent))["state_dict"]
    ours = task.state_dict()
    loaded = {name: value for name, value in theirs.items() if name in ours and ours[name].shape == value.shape}
    missing = sorted(ours.keys() - theirs.keys())
    unexpected = sorted(theirs.keys() - ours.keys())
    mismatched = sorted(ours.keys() & theirs.keys() - loaded.keys())
    if wrong := [name for name in (*missing, *mismatched) if name.startswith("model.")]:
        raise UserError(
            f"init_from={parent.path} has another architecture: {_names(wrong)} would keep random weights. "
            "Leave out model=... and size=... to take the architecture of the run"
        )
    task.load_state_dict({**ours, **loaded})
    return (
        f"{len(loaded)} tensors loaded; new: {_names(missing)}; left behind: {_names(unexpected)}; "
        f"of another shape: {_names(mismatched)}"
    )


def _names(names: list[str], most: int = 4) -> str:
    if not names:
        return "none"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
