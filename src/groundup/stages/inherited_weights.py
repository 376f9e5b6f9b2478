"""The weights that ``init_from`` brings into a new task: bodies as a whole, heads as far as they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from groundup.config.root import Lora
from groundup.errors import UserError
from groundup.models.lora import is_adapter, without_adapters
from groundup.runs.checkpoints import load_checkpoint
from groundup.runs.folder import RunFolder
from groundup.runs.reference import best_checkpoint
from groundup.stages.inheritance import WHOLE, Parents
from groundup.tasks.base import Task


def adopt_weights(task: Task, parents: Parents) -> tuple[list[str], list[str]]:
    """Copies what fits from the earlier runs' best weights into ``task``, their adapters merged.

    Returns lines that say what came, what did not and what is new; and the names of the new tensors.

    Every tensor of a body (``model.*``) must fit: a body half loaded is not a pretrained one. Heads may differ, and
    what a decoder has for its encoder alone begins anew. So does a module that is one of the model's ``additions``; a
    matrix that is wider for it keeps random numbers in the columns that are new. A head with a row for each label takes
    the rows of labels that both runs know, found by name.

    Raises UserError when a body does not fit.
    """
    if not parents:
        return [], []
    lines, loaded, grown = [], set(), set()
    for part, parent in parents.items():
        line, names, wider = _adopt(task, part, parent)
        lines.append(line)
        loaded |= names
        grown |= wider
    ours = task.state_dict()
    places = {ours[name].data_ptr() for name in loaded}  # a shared table has two names
    new = [name for name, value in ours.items() if name not in loaded and value.data_ptr() not in places]
    lines += [f"wider than there, with random weights in the new columns: {_names(sorted(grown))}"] if grown else []
    return [*lines, f"new, with random weights: {_names(new, most=8)}"], [*new, *sorted(grown)]


def _adopt(task: Task, part: str, parent: RunFolder) -> tuple[str, set[str], set[str]]:
    """A line that says what came from a run, the names of the tensors, and of those that are wider here than there."""
    checkpoint = load_checkpoint(best_checkpoint(parent))
    theirs, adapted = _merged(checkpoint["state_dict"], parent)
    if part != WHOLE:
        theirs = _of_part(theirs, part)
    ours = task.state_dict()
    common = {name: value for name, value in theirs.items() if name in ours}
    labels, known = task.facts.labels, tuple(checkpoint["facts"].get("labels", ()))
    if labels != known:
        common = _by_label(task, common, known)
    added = _added(task, theirs)
    wider = {name: _widened(ours[name], value) for name, value in common.items() if added and name.startswith("model.")}
    grown = {name: value for name, value in wider.items() if value is not None}
    loaded = {name: value for name, value in {**common, **grown}.items() if ours[name].shape == value.shape}
    missing = sorted(ours.keys() - theirs.keys())
    unexpected = sorted(theirs.keys() - ours.keys())
    mismatched = sorted(ours.keys() & theirs.keys() - loaded.keys())
    wrong = [*missing, *mismatched] if part == WHOLE else [*unexpected, *mismatched]
    if wrong := [name for name in wrong if name.startswith("model.") and not name.startswith(added)]:
        raise UserError(
            f"init_from={parent.path} has another architecture: {_names(wrong)} would keep random weights. "
            "Leave out model=... and size=... to take the architecture of the run"
        )
    task.load_state_dict(loaded, strict=False)
    line = f"{f'init_from.{part}' if part else 'init_from'} {parent.path}: {len(loaded)} tensors loaded"
    line += ", adapters merged into them" if adapted else ""
    if labels != known and task.label_tensors & loaded.keys():
        both, new = ([label for label in labels if (label in known) is shared] for shared in (True, False))
        line += f", of the head the rows of {_names(both)}, new those of {_names(new)}"
    return f"{line}; left behind: {_names(sorted([*unexpected, *mismatched]))}", set(loaded), set(grown)


def _merged(weights: Mapping[str, Tensor], run: RunFolder) -> tuple[Mapping[str, Tensor], bool]:
    """The weights of a run with its adapters merged into them, and whether there were any."""
    if not any(map(is_adapter, weights)):
        return weights, False
    lora = Lora(**run.read_config()["lora"])
    assert lora.rank is not None  # these tensors were found to be those of its config
    return without_adapters(weights, lora.alpha / lora.rank), True


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


def _by_label(task: Task, weights: Mapping[str, Tensor], known: Sequence[str]) -> dict[str, Tensor]:
    """``weights`` in which a tensor with a row for each label has ours, but for the rows of labels that are ``known`` to
    the earlier run, too; without such tensors where there are none, or the rows have another size."""
    ours, found = task.state_dict(), dict(weights)
    both = [label for label in task.facts.labels if label in known]
    here, there = (
        torch.tensor([names.index(label) for label in both], dtype=torch.long) for names in (task.facts.labels, known)
    )
    for name in task.label_tensors & weights.keys():
        theirs = found.pop(name)
        if both and ours[name].shape[1:] == theirs.shape[1:]:
            found[name] = ours[name].index_copy(0, here, theirs[there])
    for name in task.label_squares & weights.keys():
        theirs = found.pop(name)
        if both:
            found[name] = ours[name].clone()
            found[name][here[:, None], here] = theirs[there[:, None], there]
    return found


def _added(task: Task, theirs: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Prefixes of the ``additions`` of the model of which the earlier run has nothing."""
    new = task.state_dict().keys() - theirs.keys()
    prefixes = [f"model.{one}." for one in task.model.additions]
    return tuple(prefix for prefix in prefixes if any(name.startswith(prefix) for name in new))


def _widened(ours: Tensor, theirs: Tensor) -> Tensor | None:
    """``theirs`` with further columns from ``ours``; None where more than that is different, or nothing."""
    if ours.shape[:-1] != theirs.shape[:-1] or ours.shape[-1:] <= theirs.shape[-1:]:
        return None
    return torch.cat((theirs, ours[..., theirs.shape[-1] :]), dim=-1)


def _names(names: Sequence[str], most: int = 4) -> str:
    if not names:
        return "none"
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
