"""A family of models, as it is called here and elsewhere: a table of settings and one of weights, read in both directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from groundup.errors import UserError

Split = Literal["qkv", "halves", "added"]
MODEL, HEAD = "model.", "head."  # where a task has them


class Key(NamedTuple):
    """A setting: their name and ours. ``values``: theirs -> ours, where these differ; ``missing``: theirs, if it is not said."""

    theirs: str
    ours: str
    values: Mapping[Any, Any] | None = None
    missing: Any = None


class Weight(NamedTuple):
    """A tensor of ours, made of one or more of theirs; ``{}`` is the number of a block.

    Several lie one below the other; ``added``: the second is one row, which is added to each of the first. ``transposed``:
    theirs has inputs as rows; ``skipped``: rows in front of theirs that ours lacks (zeros, where they are written).
    """

    ours: str
    theirs: tuple[str, ...]
    split: Split | None = None
    transposed: bool = False
    skipped: int = 0


class Head(NamedTuple):
    """What stands on a model: our task with its options, and its weights (names from the top of a checkpoint).

    ``tied``: theirs of the output matrix, of which only one without a tie has any. ``settings``: theirs that tell it from
    another of the same class.
    """

    task: str
    options: Mapping[str, Any]
    weights: tuple[Weight, ...] = ()
    tied: str | None = None
    settings: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Family:
    """``name``: their ``model_type``. ``model``: our model, and ``fixed`` the options that all of the family have.

    ``only``: their settings that have one value with a counterpart here. ``ignored``: endings of tensors without meaning here.
    ``heads``: by the name of their class, with what it is for behind a slash where it has several uses. ``special``: their
    names of special tokens, where no file says them.
    """

    name: str
    model: Literal["transformer_encoder", "transformer_decoder"]
    prefix: str
    fixed: Mapping[str, Any]
    keys: tuple[Key, ...]
    only: Mapping[str, Any]
    body: tuple[Weight, ...]
    heads: Mapping[str, Head]
    special: Mapping[str, str]
    tied: bool = True
    ignored: tuple[str, ...] = ()
    segments: Weight | None = None
    written: Mapping[str, Any] = field(default_factory=dict)

    def options(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Their settings as options of our model. Raises UserError that names what has no counterpart."""
        for name, value in self.only.items():
            if name in config and config[name] != value and config[name] is not None:
                raise UserError(
                    f"config.json: {name}={config[name]!s:.60} has no counterpart here, only {name}={value}. Choose another model"
                )
        found = dict(self.fixed)
        for key in self.keys:
            value = config.get(key.theirs)
            value = key.missing if value is None else value
            if value is None:
                raise UserError(f"config.json says no {key.theirs}. Get a whole copy of the folder")
            if key.values is not None:
                if not isinstance(value, str) or value not in key.values:
                    choices = " or ".join(key.values)
                    raise UserError(f"config.json: {key.theirs}={value!s:.60} has no counterpart here, only {choices}")
                value = key.values[value]
            elif isinstance(value, bool) or not isinstance(value, int | float):
                raise UserError(f"config.json: {key.theirs}={value!s:.60} is no number. Get a whole copy of the folder")
            found[key.ours] = value
        if isinstance(found.get("max_length"), int):
            found["max_length"] -= self.skipped
        return found

    @property
    def skipped(self) -> int:
        """Positions of theirs, in front, that no token has."""
        return max(weight.skipped for weight in self.body)

    def settings(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Our options as their settings. Raises UserError that names every option in the way, and what to train instead."""
        wrong = [f"model.{name}={_shown(value)}" for name, value in self.fixed.items() if options.get(name) != value]
        found: dict[str, Any] = {"model_type": self.name, **self.only, **self.written}
        for key in self.keys:
            value = options.get(key.ours)
            if key.values is not None:
                theirs = next((name for name, ours in key.values.items() if ours == value), None)
                if theirs is None:
                    wrong.append(f"model.{key.ours}={_shown(next(iter(key.values.values())))}")
                value = theirs
            if value is not None:  # what they derive by themselves
                found[key.theirs] = value + self.skipped if key.ours == "max_length" else value
        if wrong:
            raise UserError(
                f"as {self.name}, exports need {' '.join(wrong)}. Train it so: groundup pretrain {' '.join(wrong)}"
            )
        return found


def _shown(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def unrolled(weights: tuple[Weight, ...], blocks: int) -> Iterator[Weight]:
    """Every tensor by its full name."""
    for weight in weights:
        for number in range(blocks) if "{}" in weight.ours else [0]:
            names = tuple(name.replace("{}", str(number)) for name in weight.theirs)
            yield weight._replace(ours=weight.ours.replace("{}", str(number)), theirs=names)


def named(head: Head, body: tuple[Weight, ...], blocks: int, prefix: str, tied: bool) -> Iterator[tuple[str, Weight]]:
    """Every tensor of a task by its name here, with theirs by their full names."""
    for weight in unrolled(body, blocks):
        yield MODEL + weight.ours, weight._replace(theirs=tuple(prefix + name for name in weight.theirs))
    for weight in head.weights:
        yield ("" if weight.ours.startswith("pooling.") else HEAD) + weight.ours, weight
    if head.tied and not tied:
        yield f"{HEAD}weight", Weight("weight", (head.tied,))


def sizes(weight: Weight, rows: int, queries: int) -> list[int]:
    """How many rows of ours each of theirs has. ``rows``: of ours; ``queries``: of those, rows that make queries."""
    if weight.split == "qkv":
        shared = (rows - queries) // 2
        return [queries, shared, shared]
    if weight.split == "added":
        return [rows + weight.skipped, 1]
    return [rows // len(weight.theirs)] * len(weight.theirs)


def joined(weight: Weight, theirs: list[Tensor]) -> Tensor:
    """Theirs as ours."""
    parts = [part.t() if weight.transposed else part for part in theirs]
    if weight.split == "added":
        return parts[0][weight.skipped :] + parts[1]
    parts = [part[weight.skipped :] for part in parts]
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).contiguous()


def parted(weight: Weight, ours: Tensor, queries: int) -> list[Tensor]:
    """Ours as theirs: the inverse of ``joined``."""
    parts = ours.split(sizes(weight, len(ours), queries)) if len(weight.theirs) > 1 else [ours]
    parts = [part.t() if weight.transposed else part for part in parts]
    if weight.skipped:
        parts = [torch.cat((part.new_zeros(weight.skipped, *part.shape[1:]), part)) for part in parts]
    return [part.contiguous() for part in parts]


def both(ours: str, *theirs: str, split: Split | None = None, transposed: bool = False) -> tuple[Weight, Weight]:
    """A linear map with a bias, or a LayerNorm: weight and bias."""
    return (
        Weight(f"{ours}.weight", tuple(f"{name}.weight" for name in theirs), split, transposed),
        Weight(f"{ours}.bias", tuple(f"{name}.bias" for name in theirs), split),
    )
