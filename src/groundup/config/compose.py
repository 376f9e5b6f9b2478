"""Configurations in code: composed as the command line does it, and resolved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from groundup.config.hydra import compose_raw, hydra_config
from groundup.config.tree import Config
from groundup.errors import UserError


def compose(stage: str, overrides: Sequence[str] = ()) -> Config:
    """What ``groundup STAGE OVERRIDES`` would run with, resolved. Works inside a running Hydra application too.

    Values that are missing stay ``???``; ``check`` refuses them.

    Raises:
        UserError: an override or a choice that does not exist; the line says what to type.
    """
    return compose_with_choices(stage, overrides)[0]


def compose_with_choices(stage: str, overrides: Sequence[str] = ()) -> tuple[Config, dict[str, str | None]]:
    """``compose``, and the choice made in each group (what ``Job.choices`` holds)."""
    from groundup.config.mistakes import check_groups, explain

    check_groups(stage, overrides)
    try:
        cfg = compose_raw(stage, overrides)
    except Exception as error:
        if isinstance(error, UserError) or (line := explain(error, stage, list(overrides))) is None:
            raise
        raise UserError(line) from error
    choices = resolved(cfg.hydra.runtime.choices)
    with hydra_config(cfg):
        return Config(resolved(OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]))), choices


def resolved(cfg: DictConfig | Mapping, stage: str = "", overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What was composed as plain nested dicts and lists, interpolations replaced by their values; missing ones stay ``???``.

    This happens once, where a command or a step is composed. Plain values pass as they are: what a run folder holds is
    never resolved, so ``${`` in it is text. ``stage``, ``overrides``: what was typed, for the line about a mistake.

    Raises:
        UserError: an interpolation that points to nothing.
    """
    from omegaconf.errors import OmegaConfBaseException

    if not isinstance(cfg, DictConfig):
        return dict(cfg)
    try:
        plain = OmegaConf.to_container(cfg, resolve=True)
    except OmegaConfBaseException as error:
        from groundup.config.mistakes import explain

        raise UserError(explain(error, stage, overrides)) from error
    return cast(dict[str, Any], plain)
