"""What may be changed where a run goes on: how long it trains, its learning rate from there, the processes it takes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from groundup.config.budget import budget_of, one_unit
from groundup.config.build import instantiate
from groundup.config.compose import compose
from groundup.config.files import CHANGEABLE
from groundup.config.quoting import inert
from groundup.config.tree import Config, leaves
from groundup.errors import UserError
from groundup.runs.folder import RunFolder
from groundup.runs.lock import locked
from groundup.runs.reference import EARLIER, last_checkpoint, was_saved

# What a run writes once it has ended; the file that says so is the last to go.
OF_THE_END = ("report.html", "beside.json", "baselines.json", "sections.json", "predictions.jsonl", "metrics.json")


def with_changes(
    folder: RunFolder, stage: str, overrides: Sequence[str], words: Sequence[str]
) -> tuple[Config, list[str]]:
    """The saved configuration of a training with ``words`` in it, and its overrides with them in their place.

    Raises:
        UserError: a key that stays as it was; a run that has no step to go on from; a budget in another unit than steps, or
            that is over already; a learning rate that would jump, and nobody has named its schedule; nothing left to do.
    """
    saved = folder.read_config()
    for word in words:
        if key_of(word).partition(".")[0] not in CHANGEABLE or word[0] == "~":
            raise UserError(
                f"{word}: a run goes on with what it began with, but for {', '.join(CHANGEABLE)}. "
                f"Try a new one: groundup {stage} init_from={folder.path} {word}"
            )
    if stage not in ("pretrain", "finetune", "distill") or saved.get("folds") or not was_saved(folder):
        raise UserError(
            f"{folder.path} has no checkpoint of one training to go on from with {words[0]}. Try it without"
        )
    kept = [word for word in overrides if not any(replaces(other, word) for other in words)]
    told = [word for word in kept if key_of(word).partition(".")[0] in (*CHANGEABLE, "experiment")]
    today = compose(stage, inert([*told, *words]))
    new = Config(copy.deepcopy(saved))
    for key in map(key_of, words):
        put(new, key.split("."), today)
    if any(key_of(word).startswith("budget") for word in words):
        new["budget"] = in_steps(today["budget"], words, saved)
    check_rate(folder, saved, new, words)
    steps = saved["budget"]["steps"]
    if folder.status()["state"] == "done" and new["budget"]["steps"] == steps:
        raise UserError(f"{folder.path} is done, so {words[0]} changes nothing. Try budget={2 * steps}steps with it")
    return new, [*kept, *words]


def key_of(word: str) -> str:
    return word.lstrip("+~").partition("=")[0]


def replaces(new: str, old: str) -> bool:
    """Whether an earlier override means nothing, or something else, beside a new one."""
    one, other = key_of(new), key_of(old)
    return one == other or other.startswith(f"{one}.") or (one[:6] == other[:6] == "budget")


def put(config: Any, path: Sequence[str], other: Any) -> None:
    """``config`` at ``path`` = ``other`` there."""
    first, *rest = path
    if rest and isinstance(config.get(first), Mapping):
        put(config[first], rest, other[first])
    else:
        config[first] = other[first]


def in_steps(budget: Any, words: Sequence[str], saved: Mapping) -> dict[str, Any]:
    """Raises UserError for a unit that is counted on the data: the steps that are done would be counted anew."""
    found = budget_of(budget, words)
    unit, amount = one_unit(found)
    if unit != "steps":
        steps = saved["budget"]["steps"]
        raise UserError(
            f"budget={amount:g}{unit}: a run that goes on counts in steps, and this one has {steps}. "
            f"Try budget={2 * steps}steps"
        )
    return found


def check_rate(folder: RunFolder, saved: Mapping, new: Mapping, words: Sequence[str]) -> None:
    """Raises UserError for a budget that is over, or one that makes the rate jump although nobody names the schedule."""
    from groundup.training.resume import saved_step  # imports torch

    step, before, after = saved_step(last_checkpoint(folder)), saved["budget"]["steps"], new["budget"]["steps"]
    if after < step or (after == step and after != before):
        raise UserError(f"budget={after}steps: {folder.path} has made {step} steps. Try budget={2 * step}steps")
    if before == after or any(key_of(word).startswith("scheduler") for word in words) or not step:
        return
    then, now = (factor(one)(step - 1) for one in (saved, new))
    if abs(then - now) > 1e-9:
        name = saved["scheduler"]["_target_"].rpartition(".")[2]
        raise UserError(
            f"budget={after}steps: the learning rate of step {step} was {then:.3g} of its base, and {name} over {after} "
            f"steps has {now:.3g} there. Say how it goes on: scheduler=wsd, cosine or linear, over all {after} steps, "
            "or one rate: try scheduler=constant"
        )


def factor(config: Mapping) -> Callable[[int], float]:
    """The share of the base rate after so many updates, as the schedule of a configuration has it."""
    import torch

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = instantiate(config["scheduler"], "scheduler")
    return schedule(optimizer, config["budget"]["steps"]).lr_lambdas[0]


def keep(folder: RunFolder, new: Mapping, resume_step: int) -> list[str]:
    """Writes what is changed into ``provenance.json`` and ``config.yaml``, in this order; lines to tell.

    A run that was done is so no more: what it had ended with is moved to ``earlier/step_N``, where nobody takes it for its
    result. Raises UserError where another process has the folder.
    """
    then, now = leaves(folder.read_config()), leaves(new)
    changed = {
        key: [then.get(key), now.get(key)]
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key) and key.partition(".")[0] in CHANGEABLE
    }
    if not changed:
        return []
    line = f"from step {resume_step} on: {listed(changed)}"
    with locked(folder.path):
        folder.set_status("interrupted", line)  # killed from here on, it can be resumed
        kept = set_aside(folder, resume_step)
        record = folder.read_json("provenance.json", {})
        entry = {"step": resume_step, "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "keys": changed}
        folder.write_json("provenance.json", {**record, "changed": [*record.get("changed", []), entry]})
        folder.write_config(new)
    return [line] if kept is None else [line, f"it has no figures until it ends again; those it had are in {kept}"]


def set_aside(folder: RunFolder, step: int) -> Path | None:
    """Moves what the run had ended with; returns where to, None where it has no figures."""
    if not folder.metrics_json.exists():
        return None
    to = folder.path / EARLIER / f"step_{step}"
    to.mkdir(parents=True, exist_ok=True)
    for name in OF_THE_END:
        if (file := folder.path / name).exists():
            file.replace(to / name)
    return to


def listed(changed: Mapping[str, Sequence[object]]) -> str:
    return ", ".join(f"{key} {before} -> {after}" for key, (before, after) in changed.items())


def changes_of(folder: RunFolder) -> list[str]:
    """What was changed while the run was under way, a line each time; empty for a run with one configuration."""
    return [
        f"step {one['step']}: {listed(one['keys'])}"
        for one in folder.read_json("provenance.json", {}).get("changed", [])
    ]
