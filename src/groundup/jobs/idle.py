"""Settings that would have no effect, because another setting that they depend on is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from groundup.config.places import resolve
from groundup.config.tree import Config
from groundup.errors import UserError
from groundup.jobs.steps import Step


def check_idle(plain: Mapping[str, Any], overrides: Sequence[str], run: Mapping[str, Any]) -> None:
    """Raises UserError for the first such word of ``overrides``. ``run``: the configuration of the run that is used."""
    for line in idle(plain, overrides, run).values():
        raise UserError(line)


def check_idle_steps(steps: Mapping[str, Step], typed: Sequence[str]) -> None:
    """Raises UserError for a word that was ``typed`` for steps of a pipeline, and changes nothing in any of them."""
    idle_in_some(
        {
            f"step {name}": Told(step.config, [w for w in step.overrides if any(one.endswith(w) for one in typed)])
            for name, step in steps.items()
        }
    )


@dataclass(frozen=True)
class Told:
    """A job or a step as it was told: ``plain``, ``overrides`` and ``run`` as of ``check_idle``."""

    plain: Mapping[str, Any]
    overrides: Sequence[str]
    run: Mapping[str, Any] = field(default_factory=dict)


def idle_in_some(parts: Mapping[str, Told]) -> dict[str, list[str]]:
    """Key -> names of the ``parts`` where it changes nothing, of the keys that do so in some of those that have them.

    Raises UserError for a key that changes nothing in any of them; the line names the first.
    """
    found = {name: idle(part.plain, part.overrides, part.run) for name, part in parts.items()}
    told = {name: set(map(key_of, part.overrides)) for name, part in parts.items()}
    some: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for lines in found.values() for key in lines):
        some[key] = [name for name, lines in found.items() if key in lines]
        if len(some[key]) == sum(key in keys for keys in told.values()):
            first = some[key][0]
            raise UserError(f"{first}: {found[first][key]}")
    return some


def idle(plain: Mapping[str, Any], overrides: Sequence[str], run: Mapping[str, Any]) -> dict[str, str]:
    """Key -> the line about it."""
    config, found = Config(plain), {}
    for key in dict.fromkeys(map(key_of, overrides)):
        value = config.at(key)
        if value is None:
            continue
        if key == "held_out" and not config.get("folds"):
            found[key] = f"held_out={value} is of the folds, and there are none. Try folds=5 held_out={value}"
        elif key == "task_adaptive_epochs" and not config.get("task_adaptive"):
            found[key] = f"{key}={value}: nothing is adapted. Try task_adaptive=true {key}={value}"
        elif key == "data.labelled_seed" and config.at("data.labelled") is None:
            found[key] = (
                f"{key}={value} says which rows keep their label, and all do. Try data.labelled=500 {key}={value}"
            )
        elif key == "data.label_separator" and _has_one_label(config.get("task") or run.get("task") or {}):
            found[key] = f"{key}={value} is for texts with several labels. Try task=multilabel, or leave it out"
    return found


def key_of(override: str) -> str:
    return override.lstrip("+").partition("=")[0]


def _has_one_label(task: Mapping[str, Any]) -> bool:
    """Whether a text has at most one; False for a task that is not known."""
    from groundup.tasks.multilabel import MultiLabelledText  # imports torch

    target = task.get("_target_")
    return target is not None and not issubclass(resolve(target, "task").examples, MultiLabelledText)  # type: ignore[attr-defined]
