"""What a configuration may build: a closed list of classes for each place. ``docs/security.md`` says why.

A run folder may come from anyone, and its config names Python objects. So a model can be built where a model is asked
for, an optimizer where an optimizer is, and nothing at all at ``model.dropout``: no function, no method, no class of
another kind. Packages of the user's own are added by ``GROUNDUP_ALLOW``, which only the shell can set.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import ModuleType
from typing import Any, cast

from groundup.errors import UserError

# Letters of other alphabets may look like ours; names with a leading underscore are private.
NAME = re.compile(r"(?:[A-Za-z]\w*\.)+[A-Za-z]\w*", re.ASCII)


@dataclass(frozen=True)
class Place:
    """What may be built at one place of a configuration.

    homes: packages that its class is defined in, and dotted names of single classes.
    base: what a class of such a package must derive from.
    partial: the code that uses it has arguments to add, so ``_partial_`` may be set.
    around: a class that is put around what was built. Its keyword-only arguments stand in the same node, whatever is built
    there; where all of those that may be None are None, it is left out.
    """

    what: str
    homes: tuple[str, ...]
    base: str | None = None
    partial: bool = False
    around: str | None = None


def _callbacks() -> tuple[str, ...]:
    # Of Lightning's those that write no file and call nothing that a config can name.
    names = "DeviceStatsMonitor GradientAccumulationScheduler LearningRateMonitor ModelSummary RichModelSummary Timer"
    return ("groundup.training", *(f"lightning.pytorch.callbacks.{name}" for name in names.split()))


_MODELS, _BACKBONES = ("groundup.models",), "groundup.models.backbone"
_DECODING = Place("a way of decoding", ("groundup.decoding",), "groundup.decoding.decoding.Decoding")
_TOKENIZER = Place("a tokenizer", ("groundup.text.tokenizer.TokenizerSpec",))

PLACES: Mapping[str, Place] = {
    "model": Place("a model", _MODELS, f"{_BACKBONES}.Backbone"),
    "model.encoder": Place("an encoder", _MODELS, f"{_BACKBONES}.EncoderBackbone", partial=True),
    "model.decoder": Place("a decoder", _MODELS, f"{_BACKBONES}.DecoderBackbone", partial=True),
    "task": Place("a task", ("groundup.tasks",), "groundup.tasks.base.Task"),
    "task.decoding": _DECODING,
    "decoding": _DECODING,
    "data": Place(
        "a source of rows",
        ("groundup.data.sources",),
        "groundup.data.sources.source.Source",
        around="groundup.data.sources.few_labels.FewLabels",
    ),
    "data.clean": Place("the cleaning of texts", ("groundup.text.clean.Clean",)),
    "tokenizer": _TOKENIZER,
    "target_tokenizer": _TOKENIZER,
    "batching": Place(
        "a way of batching", tuple(f"groundup.data.batching.{name}" for name in ("Packed", "Bucketed", "TokenBudget"))
    ),
    "baseline": Place("a classical model", ("groundup.baselines",), "groundup.baselines.baseline.Baseline"),
    "optimizer": Place("an optimizer", ("torch.optim", "groundup.training"), "torch.optim.Optimizer", partial=True),
    "scheduler": Place("a schedule", ("groundup.training.schedules",), "groundup.training.schedules.Schedule"),
    "self_training": Place(
        "a way of self-training",
        ("groundup.data.pseudo_labels.PseudoLabels", "groundup.training.mean_teacher.MeanTeacher"),
    ),
    "augmentation.*": Place(
        "an augmentation", ("groundup.data.augmentation",), "groundup.data.augmentation.Augmentation"
    ),
    "trainer": Place("a trainer", ("lightning.pytorch.Trainer",)),
    "trainer.strategy": Place(
        "a strategy", tuple(f"lightning.pytorch.strategies.{name}" for name in ("DDPStrategy", "ModelParallelStrategy"))
    ),
    "callbacks.*": Place("a callback", _callbacks(), "lightning.pytorch.callbacks.Callback"),
    "dashboard.*": Place("a view", ("groundup.runs.dashboard.View",)),
    "logger.*": Place("a logger", ("groundup.runs.loggers.Wandb", "groundup.runs.loggers.TensorBoard")),
}


def place_at(path: str) -> Place | None:
    """What may be built at the config path ``path``; None: nothing."""
    return PLACES.get(path) or PLACES.get(f"{path.rpartition('.')[0]}.*")


def around(path: str) -> type | None:
    """The class that is put around what is built at ``path``, where its arguments are set."""
    place = place_at(path)
    return locate(place.around, path) if place and place.around else None


def allowed() -> list[str]:
    """The packages and classes in ``GROUNDUP_ALLOW=mine,other.package.Class``."""
    words = [word.strip(" .") for word in os.environ.get("GROUNDUP_ALLOW", "").split(",")]
    return [word for word in words if word]


def trusted(name: str) -> bool:
    """Whether ``GROUNDUP_ALLOW`` names ``name``, or a package that it is in."""
    return is_inside(name, allowed())


def advice(target: str) -> str:
    return f"If it is a class that you trust: GROUNDUP_ALLOW={','.join([*allowed(), target])} groundup ..."


def is_inside(name: str, homes: Iterable[str]) -> bool:
    return any(name == home or name.startswith(f"{home}.") for home in homes)


def permitted_nodes(value: Any, path: str = "", within_trusted: bool = False) -> Iterator[tuple[str, Mapping, type]]:
    """(path, node, class) for every ``_target_`` in nested plain values, outer ones first.

    Raises:
        UserError: one that is not allowed where it stands, does not exist, or is given a keyword of Hydra's.
    """
    if isinstance(value, Mapping):
        if "_target_" in value:
            found = resolve(value["_target_"], path, within_trusted)
            check_keywords(value, path, within_trusted or trusted(value["_target_"]))
            yield path, value, found
            within_trusted = trusted(value["_target_"])
        for key, item in value.items():
            yield from permitted_nodes(item, f"{path}.{key}" if path else str(key), within_trusted)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from permitted_nodes(item, f"{path}[{index}]", within_trusted)


def check_keywords(node: Mapping, path: str, own: bool) -> None:
    """Of Hydra's keywords only ``_partial_`` means something here, and only where the code adds arguments."""
    place = place_at(path)
    known = ("_target_", "_partial_") if own or (place and place.partial) else ("_target_",)
    for key in node:
        if str(key).startswith("_") and str(key).endswith("_") and key not in known:
            raise UserError(f"{path}.{key}: has no meaning here. Leave it out")


def resolve(target: Any, path: str, within_trusted: bool = False) -> type:
    """The class that the dotted name ``target`` stands for at the config path ``path``.

    Nothing is imported before the name alone shows that it is in a package that may be built from at this place.

    Args:
        within_trusted: the node is an argument of a class of the user's own, which may take others of them.

    Raises:
        UserError: not allowed here, or not there; the line says what to type.
    """
    where, place = f"{path}._target_", place_at(path)
    if not isinstance(target, str) or not NAME.fullmatch(target):
        raise UserError(f"{where} = {target!r}: must be the dotted name of a class, such as torch.optim.AdamW")
    if trusted(target) and (place is not None or within_trusted):
        return own_class(target, where)
    if place is None:
        hint = advice(target) if within_trusted else f"Give a plain value: {path}=..."
        raise UserError(f"{where} = {target}: nothing can be built here. {hint}")
    if target in place.homes and inspect.isclass(found := locate(target, where)):
        return found
    if place.base is None or not is_inside(target, place.homes):
        raise UserError(f"{where} = {target}: here goes {place.what} out of {', '.join(place.homes)}. {advice(target)}")
    base = locate(place.base, where)

    def fits(found: Any) -> bool:
        # The bare object, not issubclass: a class of the list can then not speak for another.
        known = inspect.isclass(found) and base in found.__mro__[1:]
        return known and is_inside(f"{found.__module__}.{found.__qualname__}", place.homes)

    found = locate(target, where, fits)
    if not fits(found):
        fitting = [f"{value.__module__}.{name}" for name, value in vars(parts(target, where)[0]).items() if fits(value)]
        hint = f". Try {where}={fitting[0]}" if fitting else ""
        raise UserError(f"{where} = {target}: that is not {place.what}; it does not derive from {place.base}{hint}")
    return cast(type, found)


def own_class(target: str, where: str) -> type:
    """A class that ``GROUNDUP_ALLOW`` covers: by its full name, or by the package in which it is defined."""
    found = locate(target, where, inspect.isclass)
    if not inspect.isclass(found):
        raise UserError(f"{where} = {target}: only classes can be built, and this is a {type(found).__name__}")
    if target not in allowed() and not trusted(home := f"{found.__module__}.{found.__qualname__}"):
        raise UserError(f"{where} = {target}: that is {home}. {advice(target)}")
    return found


def locate(target: str, where: str, fits: Callable[[Any], bool] = inspect.isclass) -> Any:
    """The object ``name`` of the module ``package.module`` for ``package.module.name``; nothing inside of objects.

    Raises:
        UserError: there is no such module or name; those that ``fits`` are proposed.
    """
    module, name = parts(target, where)
    found = vars(module).get(name)
    if found is None:
        near = get_close_matches(name, [word for word, value in vars(module).items() if fits(value)], n=1)
        hint = f"; did you mean '{near[0]}'? Try {where}={module.__name__}.{near[0]}" if near else ""
        raise UserError(f"{where} = {target}: {module.__name__} has no '{name}'{hint}")
    return found


def parts(target: str, where: str) -> tuple[ModuleType, str]:
    """The module and the last name of ``package.module.name``."""
    home, _, name = target.rpartition(".")
    try:
        return importlib.import_module(home), name
    except ModuleNotFoundError as error:
        if error.name is None or not is_inside(home, [error.name]):
            raise  # the module is there, and lacks a package of its own
        ours = is_inside(home, ["groundup"])
        own = "" if ours else ". Is it installed? If it lies in the current folder: PYTHONPATH=. groundup ..."
        raise UserError(f"{where} = {target}: there is no module {error.name}{own}") from None
