"""Building objects from a configuration: only what is on the allow-list, and with the constructor's own errors.

A run folder may come from anyone, and its config names Python objects. Hydra blocks a list of dangerous calls; here
the rule is the other way round. https://hydra.cc/docs/advanced/instantiate_objects/overview/
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig

from groundup.config.compose import resolved
from groundup.errors import UserError

# Building blocks of ours. Not the command, the stages and this package: a config has no business calling those.
OURS = ("data", "models", "tasks", "decoding", "training", "metrics", "baselines", "runs.loggers", "runs.wandb_logger")
ALLOWED = (
    *(f"groundup.{room}." for room in OURS),
    "torch.optim.",
    "torch.nn.",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.trainer.trainer.Trainer",
    "lightning.pytorch.callbacks.",
    "lightning.pytorch.loggers.",
    "lightning.pytorch.strategies.",
    "lightning.pytorch.plugins.",
    "lightning.pytorch.profilers.",
    "lightning.pytorch.accelerators.",
)


def trusted() -> tuple[str, ...]:
    """The packages in ``GROUNDUP_ALLOW=mine,other.package``."""
    names = [name.strip(" .") for name in os.environ.get("GROUNDUP_ALLOW", "").split(",")]
    return tuple(f"{name}." for name in names if name)


def is_allowed(name: str) -> bool:
    return any(name == prefix or (prefix[-1] == "." and name.startswith(prefix)) for prefix in ALLOWED + trusted())


def instantiate(node: DictConfig | Mapping, **supplied: Any) -> Any:
    """Build the object that ``node`` describes, with the arguments that only code knows.

    ``supplied`` reaches the constructor as it is (Hydra would turn lists, tuples and dataclasses into its own).

    Raises:
        UserError: a ``_target_`` that is not allowed or does not exist.
        Exception: whatever the constructor raises, unwrapped.
    """
    import hydra
    from hydra.errors import InstantiationException

    plain = resolved(node)
    check_targets(plain)
    partial = bool(plain.pop("_partial_", False))
    try:
        build = hydra.utils.instantiate(plain, _partial_=True, _convert_="all")
    except InstantiationException as error:
        raise original(error) from None
    if not partial:
        return build(**supplied)
    from functools import partial as later

    return later(build, **supplied) if supplied else build


def original(error: BaseException) -> BaseException:
    """The exception below Hydra's "Error in call to target"."""
    from hydra.errors import InstantiationException

    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def check_targets(value: Any, path: str = "") -> None:
    """Resolve every ``_target_`` in nested plain values.

    Raises:
        UserError: the first one that is not allowed or does not exist.
    """
    if isinstance(value, Mapping):
        if "_target_" in value:
            resolve(value["_target_"], f"{path}._target_".lstrip("."))
        for key, item in value.items():
            check_targets(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_targets(item, f"{path}[{index}]")


def resolve(target: Any, path: str = "_target_") -> Callable:
    """The class or function that a dotted name stands for.

    The name as written and the place where the object is defined must both be allowed: ``groundup.data.cache.os.system``
    begins well and is still ``os.system``. Of other packages only classes pass, since some of their functions load pickles.

    Raises:
        UserError: not allowed, or not there.
    """
    if not isinstance(target, str):
        raise UserError(f"{path} = {target!r}: must be the dotted name of a class, such as torch.optim.AdamW")
    if not is_allowed(target):
        raise UserError(refusal(path, target))
    found = locate(target, path)
    home = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', '')}"
    known = home.startswith(("groundup.", *trusted()))
    if not is_allowed(home) or not (inspect.isclass(found) or (known and inspect.isroutine(found))):
        raise UserError(refusal(path, target, home))
    return found


def refusal(path: str, target: str, home: str | None = None) -> str:
    what = target if home in (None, target) else f"{target} (which is {home})"
    return (
        f"{path} = {what}: a config may only name classes of groundup, torch.nn, torch.optim and lightning.pytorch. "
        f"If you trust it: GROUNDUP_ALLOW={target.split('.')[0]} groundup ..."
    )


def locate(target: str, path: str) -> Any:
    """Import the longest prefix of ``target`` that is a module, then follow its attributes."""
    parts = target.split(".")
    for count in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:count])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # the module is there, and lacks a package of its own
            continue
        for part in parts[count:]:
            if not hasattr(found, part):
                near = get_close_matches(part, [word for word in vars(found) if word[0] != "_"], n=1)
                hint = f"; did you mean '{near[0]}'? Try {path}={target.removesuffix(part)}{near[0]}" if near else ""
                raise UserError(f"{path} = {target}: {found.__name__} has no '{part}'{hint}")
            found = getattr(found, part)
        return found
    raise UserError(f"{path} = {target}: there is no module {parts[0]}. Is it installed?")
