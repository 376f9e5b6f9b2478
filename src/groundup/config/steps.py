"""The steps of a pipeline as they stand in its configuration: their references to each other, and a check of them all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from groundup.config.compose import compose_with_choices
from groundup.errors import UserError

REFERENCE = re.compile(r"\{(\w+)\}")  # {name} of an earlier step; {key: value} is left to Hydra


def fill(overrides: Sequence[str], folders: Mapping[str, Path]) -> list[str]:
    """Overrides with ``{step}`` replaced by the folder of that step."""
    return [REFERENCE.sub(lambda found: str(folders[found[1]]), override) for override in overrides]


def check_steps(steps: Mapping[str, Mapping]) -> None:
    """Raises UserError for a mistake in any step, before the first one trains."""
    from groundup.cli import STAGES
    from groundup.config.preflight import preflight

    if not steps:
        raise UserError("a pipeline needs steps. Try groundup pipeline experiment=demo")
    earlier: dict[str, Path] = {}  # none of these folders is there yet
    for name, step in steps.items():
        try:
            if step.get("stage") not in STAGES:
                raise UserError(f"stage={step.get('stage')} is no stage. Choose one of: {', '.join(STAGES)}")
            overrides = step.get("overrides") or []
            named = {word for override in overrides for word in REFERENCE.findall(override)}
            if strange := sorted(named.difference(earlier)):
                names = ", ".join(f"{{{other}}}" for other in earlier) or "none"
                raise UserError(f"{{{strange[0]}}} is no earlier step. Earlier steps: {names}")
            filled = fill(overrides, earlier)
            config, choices = compose_with_choices(step["stage"], filled)
            preflight(step["stage"], config, filled, choices, later=[earlier[other] for other in named])
        except UserError as error:
            raise UserError(f"step {name}: {error}") from None
        earlier[name] = Path(f"_step_{name}_")
