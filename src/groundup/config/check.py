"""A configuration against the signatures it will be called with, before anything is built.

No schema is written twice: names, types and defaults are the constructor's, ranges stand in its annotations as
``Annotated[float, Field(ge=0, lt=1)]`` and choices as ``Literal[...]``. Classes of other packages are covered the same way.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import BaseModel

from groundup.config.composable import forget
from groundup.config.files import brought_keys, conf_dir, for_another_verb, origin, stage_keys
from groundup.config.places import around, permitted_nodes
from groundup.config.root import Root
from groundup.config.signatures import OF_OTHERS, OF_STAGE, SET_BY_CODE, SPECIAL, SUPPLIED, options_of, parameters_of
from groundup.config.spelling import closest
from groundup.config.suggest import instead_of_key
from groundup.config.values import EMPTY, MISSING, Parameter, fits, misfit, shown
from groundup.errors import UserError

USUAL = {"run": "last", "teacher": "last", "method": "quantize"}  # what to type for a value that is due


@dataclass(frozen=True)
class Mistake:
    """One finding. ``typed``: what to type instead. ``unknown``: the key has no place here, and may have another name."""

    path: str
    reason: str
    typed: str | None = None
    value: Any = EMPTY
    unknown: bool = False

    def line(self, source: str | None) -> str:
        value = "" if self.value is EMPTY else f" = {shown(self.value)}"
        where = f" ({source})" if source else ""
        stop = "" if self.reason.endswith("?") and not where else "."
        advice = f"{stop} Try {self.typed}" if self.typed else ""
        return f"{self.path}{value}: {self.reason}{where}{advice}"


def check(
    cfg: Mapping,
    stage: str = "",
    overrides: Sequence[str] = (),
    choices: Mapping[str, str | None] | None = None,
    supplied: Mapping[str, Collection[str]] = SUPPLIED,
) -> None:
    """Check plain values (see ``compose.resolved``) against the root keys and against every ``_target_``.

    ``overrides`` and ``choices`` only serve to name the file that a wrong value comes from.

    Raises:
        UserError: the first mistake: config path, value, what is allowed, file, what to type.
    """
    check_keys(cfg, stage, overrides, choices)
    refuse(node_mistakes(cfg, "", supplied), stage, overrides, choices)


def check_keys(
    cfg: Mapping, stage: str = "", overrides: Sequence[str] = (), choices: Mapping[str, str | None] | None = None
) -> None:
    """The part of ``check`` that imports nothing heavy: missing values and the root keys."""
    if stage and cfg.get("stage") not in (None, stage):  # an experiment says what it is for
        raise UserError(for_another_verb((choices or {}).get("experiment") or "NAME", cfg["stage"]))
    refuse(all_missing(cfg), stage, overrides, choices)
    refuse(without_class(cfg), stage, overrides, choices)
    refuse(strange_keys(cfg, stage), stage, overrides, choices)
    refuse(model_mistakes(cfg, Root), stage, overrides, choices)


def refuse(
    mistakes: Iterable[Mistake], stage: str, overrides: Sequence[str], choices: Mapping[str, str | None] | None
) -> None:
    """Raise UserError for the first of the mistakes, if there is one."""
    if found := list(mistakes):
        first = found[0]
        more = f" ({len(found) - 1} more like this)" if len(found) > 1 else ""
        if first.unknown and first.typed is None:
            first = advised(first, stage, overrides)
        raise UserError(first.line(origin(conf_dir(), first.path, stage, overrides, choices or {})) + more)


def advised(mistake: Mistake, stage: str, overrides: Sequence[str]) -> Mistake:
    """The mistake with what to type instead of its key, where that is known."""
    if not (stage_keys(conf_dir(), stage) if stage else ()):
        return mistake
    forget()
    others = [word for word in overrides if word.lstrip("+").partition("=")[0] != mistake.path]
    value = "..." if mistake.value is EMPTY else shown(mistake.value)
    group, chosen = mistake.path.partition(".")[0], [word.partition("=")[0] for word in others]
    if f"{group}._target_" in chosen:  # typed over a choice whose keys stay
        home = f"A class of your own has a file of its own, conf/{group}/NAME.yaml"
        return replace(mistake, reason=f"{mistake.reason}. {home}", typed=f"{group}=NAME")
    advice, found, typed = instead_of_key(mistake.path, value, stage, others).partition("Try ")
    reason = mistake.reason + advice.rstrip(". ") if found or advice[:1] == ":" else mistake.reason
    return replace(mistake, reason=reason, typed=typed or None)


def strange_keys(cfg: Mapping, stage: str) -> Iterator[Mistake]:
    """Root keys that another stage has: ``+batch_size=8`` is of ``predict`` and would change nothing in training."""
    own = stage_keys(conf_dir(), stage) if stage else set()
    if own:
        known = own | {"stage"} | brought_keys(conf_dir(), stage)
        yield from unknown_names(cfg, known, "", "there is no such key")


def without_class(cfg: Mapping) -> Iterator[Mistake]:
    """Parts of a training whose file names no class to build."""
    for name in ("model", "task", "optimizer", "scheduler", "batching") if "budget" in cfg else ():
        if isinstance(node := cfg.get(name), Mapping) and node and "_target_" not in node:
            yield Mistake(f"{name}._target_", "no class is named", f"+{name}._target_=package.module.Class")


def all_missing(cfg: Mapping) -> Iterator[Mistake]:
    """All values that are still ``???`` as one mistake, to be typed at once."""
    if found := list(missing_values(cfg)):
        yield replace(found[0], typed=" ".join(str(mistake.typed) for mistake in found))


def missing_values(value: Any, path: str = "") -> Iterator[Mistake]:
    """Values that are still ``???``."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from missing_values(item, join(path, key))
    elif value == MISSING:
        yield Mistake(path, "no value", f"{path}={USUAL.get(path, '...')}")


def model_mistakes(values: Mapping, model: type[BaseModel], path: str = "") -> Iterator[Mistake]:
    """Values against the fields of a pydantic model, nested models included."""
    parameters = {
        name: Parameter(
            Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation, field.default
        )
        for name, field in model.model_fields.items()
    }
    yield from unknown_names(values, parameters, path, "there is no such key")
    for name in values.keys() & parameters.keys():
        parameter, value = parameters[name], values[name]
        if (inner := nested_model(parameter.annotation)) and isinstance(value, Mapping):
            yield from model_mistakes(value, inner, join(path, name))
        else:
            yield from value_mistakes(value, parameter, join(path, name))


def nested_model(annotation: Any) -> type[BaseModel] | None:
    options = [annotation, *typing.get_args(annotation)]
    return next((option for option in options if isinstance(option, type) and issubclass(option, BaseModel)), None)


def node_mistakes(value: Any, path: str, supplied: Mapping[str, Collection[str]]) -> Iterator[Mistake]:
    """Every ``_target_`` in nested plain values against its signature."""
    for where, node, target in permitted_nodes(value, path):
        added = supplied.get(where) or supplied.get(where.split(".")[0]) or ()
        yield from call_mistakes(node, target, where, added)


def call_mistakes(node: Mapping, target: Callable, path: str, supplied: Collection[str]) -> Iterator[Mistake]:
    """One node against the signature of its target."""
    found = parameters_of(target)
    if found is None:
        return
    parameters, takes_any = found
    parameters = {**parameters, **OF_STAGE.get(path, {})}
    if not target.__module__.startswith(f"{__package__.partition('.')[0]}."):
        ranges = OF_OTHERS.get(path, {})
        parameters |= {
            key: replace(parameters[key], annotation=ranges[key]) for key in ranges.keys() & parameters.keys()
        }
    if outer := around(path):
        parameters = parameters | options_of(outer, target)
    name = getattr(target, "__name__", str(target))
    given = {key: value for key, value in node.items() if key not in SPECIAL}
    for key in given.keys() & set(SET_BY_CODE.get(path, ())):
        yield Mistake(join(path, key), "the code sets it, from the other keys", None, given[key], unknown=True)
    if not takes_any:
        yield from unknown_names(given, parameters, path, f"{name} has no such argument")
    if not (node.get("_partial_") or "*" in supplied):
        for key, parameter in parameters.items():
            if parameter.default is EMPTY and key not in given and key not in supplied:
                yield Mistake(join(path, key), f"no value, and {name} needs one", f"+{join(path, key)}=...")
    for key, value in given.items():
        if key in parameters and not holds_target(value):
            yield from value_mistakes(value, parameters[key], join(path, key))
    yield from head_mistakes(given, path)


def unknown_names(values: Mapping, known: Collection[str], path: str, reason: str) -> Iterator[Mistake]:
    for key in values:
        if key in known:
            continue
        value = EMPTY if isinstance(values[key], Mapping) else values[key]
        if near := closest(str(key), known):
            typed = f"{join(path, near)}={'...' if value is EMPTY else shown(value)}"
            yield Mistake(join(path, key), f"{reason}; did you mean '{near}'?", typed, value)
        else:
            has = f". It has: {', '.join(known)}" if path else ""
            yield Mistake(join(path, key), f"{reason}{has}", None, value, unknown=True)


def value_mistakes(value: Any, parameter: Parameter, path: str) -> Iterator[Mistake]:
    inner = nested_model(parameter.annotation)
    if inner and not isinstance(value, Mapping) and misfit(parameter, value):
        keys = ", ".join(join(path, key) for key in inner.model_fields)
        yield Mistake(path, f"it has keys of its own: {keys}", None, value)
    elif found := misfit(parameter, value):
        typed = None if found.better is EMPTY else f"{path}={shown(found.better)}"
        if isinstance(value, str) and "," in value and all(fits(parameter, part) for part in value.split(",")):
            typed = f"-m {path}={value}"  # one run for each
        yield Mistake(path + found.index, found.reason, typed, value)


def head_mistakes(node: Mapping, path: str) -> Iterator[Mistake]:
    """Heads that do not share a width evenly."""
    width, heads = node.get("width"), node.get("heads")
    if isinstance(width, int) and isinstance(heads, int) and width > 0 < heads and width % heads:
        better = min((n for n in range(1, width + 1) if width % n == 0), key=lambda n: (abs(n - heads), -n))
        yield Mistake(
            join(path, "heads"), f"must divide {join(path, 'width')}={width}", f"{path}.heads={better}", heads
        )


def holds_target(value: Any) -> bool:
    """Whether something in ``value`` is still to be built, so that its type is not known yet."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(holds_target(item) for item in value.values())
    return isinstance(value, list | tuple) and any(holds_target(item) for item in value)


def join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
