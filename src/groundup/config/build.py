"""Building objects from plain values: only what is on the list, and with the constructor's own errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from groundup.config.places import around, permitted_nodes, resolve, trusted
from groundup.config.signatures import options_of
from groundup.config.values import shown
from groundup.errors import ArgumentError, UserError

PLAIN = (str, int, float, bool, type(None))


def instantiate(node: Mapping, path: str, **supplied: Any) -> Any:
    """Build the object that ``node`` describes, with the arguments that only code knows.

    Nothing is resolved here: a text with ``${`` is that text. ``supplied`` reaches the constructor as it is, and wins.

    Args:
        path: where ``node`` stands in the configuration, as in ``model``; it decides what may be built.

    Raises:
        UserError: a ``_target_`` that is not allowed where it stands, or does not exist (see ``places.resolve``).
        TypeError: a value that is not plain.
        Exception: whatever the constructor raises; an ArgumentError of it becomes a UserError with ``path`` in its line.
    """
    if not (isinstance(node, Mapping) and "_target_" in node):
        raise UserError(f"{path} = {shown(node)}: there is nothing to build here, it has no _target_")
    for _ in permitted_nodes(node, path):  # all of them, before the first is built
        pass
    return _built(node, path, supplied)


def _call(path: str, target: Callable[..., Any], /, *args: Any, **arguments: Any) -> Any:
    try:
        return target(*args, **arguments)
    except ArgumentError as error:
        raise UserError(error.at(path)) from None


def _built(value: Any, path: str, supplied: Mapping[str, Any], within_trusted: bool = False) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        target, own = value["_target_"], trusted(value["_target_"])
        found = resolve(target, path, within_trusted)
        given = {
            key: _built(item, f"{path}.{key}", {}, own)
            for key, item in value.items()
            if key not in ("_target_", "_partial_")
        }
        outer = around(path)
        options = options_of(outer, found) if outer else {}
        others = {key: given.pop(key) for key in options if key in given}
        arguments = {**given, **supplied}
        if value.get("_partial_"):
            return partial(_call, path, found, **arguments)
        made = _call(path, found, **arguments)
        asked = any(others[key] is not None for key in others if options[key].default is None)
        return _call(path, outer, made, **others) if asked and outer else made
    if isinstance(value, dict):
        return {key: _built(item, f"{path}.{key}", {}, within_trusted) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_built(item, f"{path}[{index}]", {}, within_trusted) for index, item in enumerate(value)]
    if not isinstance(value, PLAIN):
        raise TypeError(f"{path} is a {type(value).__name__}, and a configuration holds plain values")
    return value
