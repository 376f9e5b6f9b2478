"""Overrides that a run folder holds, as data: composing them runs no code that they name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from groundup.config.quoting import quoted
from groundup.errors import UserError

NAME = re.compile(r"\w[\w-]*(/\w[\w-]*)*")  # of a choice: below the folders of configurations, never beside them


def inert(overrides: Iterable[str]) -> list[str]:
    """The same overrides with ``${`` as text, for ``compose``; they set keys and make choices, and nothing else.

    Raises:
        UserError: one that cannot be read, that sweeps, sets a key of Hydra's, or takes a choice from another folder.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, safe = OverridesParser.create(), []
    for override in quoted([*overrides]):
        try:
            parsed = parser.parse_override(override)
        except HydraException:
            raise UserError(f"{override}: cannot be read as KEY=VALUE") from None
        key, value = parsed.key_or_group, parsed.value()
        if not key or re.match(r"hydra\b", key) or parsed.is_sweep_override():
            raise UserError(f"{override}: only KEY=VALUE of the stage can stand here. Leave it out")
        if is_group(key) and not all(NAME.fullmatch(name) for name in names(value)):
            raise UserError(f"{override}: {key} is chosen by a name")
        head, equals, _ = override.partition("=")
        safe.append(f"{head}={written(value)}" if equals else head)
    return safe


def is_group(key: str) -> bool:
    from groundup.cli import conf_dir
    from groundup.config.compose import extra_config_dirs

    folders = [conf_dir(), *(Path(name.removeprefix("file://")) for name in extra_config_dirs())]
    return any((folder / key).is_dir() for folder in folders)


def names(value: Any) -> list[str]:
    return [str(name) for name in value] if isinstance(value, list) else [] if value is None else [str(value)]


def written(value: Any) -> str:
    """A parsed value in Hydra's grammar again, each text in quotes."""
    if isinstance(value, list):
        return f"[{','.join(written(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{written(item)}" for key, item in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, str):
        return str(value)
    # An even number of backslashes would leave OmegaConf's interpolation as it is.
    text = re.sub(r"(\\*)\$\{", lambda found: found[0] if len(found[1]) % 2 else f"{found[1]}\\${{", value)
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)  # in Hydra's quotes a backslash counts before a quote only
    return "'" + re.sub(r"(\\+)\Z", r"\1\1", text) + "'"
