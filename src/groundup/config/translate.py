"""Names that people know from elsewhere, in the words of this project: the tables of ``foreign``, filled with what was typed.

What comes out is what may be meant; whether a configuration takes it, ``composable.takes`` says.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from groundup.config.composable import composed, groups
from groundup.config.foreign import CHOICES, KEYS, Template, by_name, normalised
from groundup.config.places import resolve

ON, OFF = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def translated(key: str, value: str, stage: str, others: Sequence[str], known: Collection[str]) -> Iterator[list[str]]:
    """What a foreign name may be in ours, the likeliest first; not yet known to exist."""
    table, name, leaf = by_name(KEYS), normalised(key), normalised(key.rpartition(".")[2])
    group = key.partition(".")[0]
    if leaf in ("name", "type", "kind") and "." in key and group in groups() and name not in table:
        yield choose(f"{group}={value}", stage, others)
        return
    if name in table or leaf != "name":
        entry = table.get(name, table.get(leaf, ()))
        if entry == table["best_metric"]:
            value = our_metric(value, stage, others)
        for words in fill(entry, value):
            parent = key.rpartition(".")[0]
            ours, _, typed = words[-1].partition("=")
            if parent and f"{parent}.{ours.rpartition('.')[2]}" in known:  # model.encoder.num_layers, say
                yield [f"{parent}.{ours.rpartition('.')[2]}={typed}"]
            yield [word for item in words for word in choose(item, stage, others)]
            yield from both_sides(ours, typed, known)
    yield from both_sides(key, value, known)


def fill(template: Template, value: str) -> Iterator[list[str]]:
    """The words of a template with the value in its place; none where the value does not fit."""
    if isinstance(template, Mapping):
        plain = value.strip("'\"").lower()
        plain = (
            "true" if plain in ON and "true" in template else "false" if plain in OFF and "false" in template else plain
        )
        template = template.get(plain, template.get("*", ""))
    for text in (template,) if isinstance(template, str) else template:
        metric = re.sub(r"^(eval|val|valid|validation|test|dev)[_/]", "", value)
        if text and not ("{count}" in text and not re.fullmatch(r"[1-9]\d*", value)):
            yield [word.format(value, count=value, metric=metric) for word in text.split(" ")]


def choose(word: str, stage: str, others: Sequence[str]) -> list[str]:
    """``data=imdb`` as it is; the name of a choice that we call otherwise in our words."""
    group, _, name = word.partition("=")
    if group in CHOICES and name not in groups().get(group, []):
        if group == "data" and "/" in name:
            return ["data=files", f"data.hub={name}"]
        ours = by_name(CHOICES[group]).get(normalised(name))
        return of_our_kind(f"{group}={ours}", name, stage, others) if ours else [word]
    return [word]


def of_our_kind(words: str, name: str, stage: str, others: Sequence[str]) -> list[str]:
    """The words of a choice, ``{kind}`` being the kind of model that the task is usually done with; its class is imported."""
    kind = ""
    if "{kind}" in words:
        task = (composed(stage, tuple(others)) or {}).get("task")
        kind = resolve(task["_target_"], "task").accepts[0] if task else "encoder"  # type: ignore[attr-defined]
    return words.format(name, kind=kind).split()


def both_sides(key: str, value: str, known: Collection[str]) -> Iterator[list[str]]:
    """``model.dropout`` of an encoder-decoder is that of its encoder and that of its decoder."""
    if key.startswith("model.") and all(side in known for side in sides(key)):
        yield [f"{side}={value}" for side in sides(key)]


def sides(key: str) -> list[str]:
    """A key of a model as that of its encoder and that of its decoder."""
    return [key.replace("model.", f"model.{side}.", 1) for side in ("encoder", "decoder")]


def our_metric(name: str, stage: str, others: Sequence[str]) -> str:
    """What the task calls a metric of that name; the name itself where it has none."""
    return meant_metric(name, reported(composed(stage, tuple(others)) or {})) or name


def reported(config: Mapping) -> Sequence[Any]:
    """The metrics that the validation of a configuration's task reports; its class is imported."""
    task = config.get("task")
    return resolve(task.get("_target_"), "task").reports if task else ()  # type: ignore[attr-defined]


def meant_metric(name: str, reports: Sequence[Any]) -> str | None:
    """The metric of ``reports`` that others call ``name``: ``val_acc`` is ``accuracy``."""
    bare = re.sub(r"^(eval|val|valid|validation|test|dev|train)_", "", name.lower().replace("-", "_"))
    near = get_close_matches(bare, [one.name for one in reports if one.better], 1, 0.8)
    return next((one.name for one in reports if bare in (one.name, *one.also)), next(iter(near), None))
