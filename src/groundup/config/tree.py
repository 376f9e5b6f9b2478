"""A composed configuration as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Config(dict[str, Any]):
    """Nested plain values, read and set as ``cfg.model.width``. There is no interpolation: ``${`` is text like other.

    Raises AttributeError for a key that is not there; ``cfg.get(key)`` does not.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__({key: _nested(value) for key, value in values.items()})

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            raise AttributeError(f"the configuration has no '{key}' here, only {', '.join(map(str, self))}") from None

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, _nested(value))

    def __setattr__(self, key: str, value: Any) -> None:
        self[key] = value

    def at(self, path: str) -> Any:
        """The value at a dotted path, ``at("model.encoder.layers")``; None where there is none."""
        value: Any = self
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def put(self, path: str, value: Any) -> None:
        """Sets the value at a dotted path whose parents exist."""
        parent, _, key = path.rpartition(".")
        (self.at(parent) if parent else self)[key] = value


def _nested(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Config(value)
    return [_nested(item) for item in value] if isinstance(value, list | tuple) else value


def leaves(values: Mapping, prefix: str = "") -> dict[str, object]:
    """Every value of a config by its dotted key."""
    found: dict[str, object] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        found |= leaves(value, name + ".") if isinstance(value, dict) and value else {name: value}
    return found
