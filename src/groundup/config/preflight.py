"""All that can be checked before a run has a folder, the cheap first: torch is not imported for a wrong name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from groundup.config.check import check, check_keys


def preflight(stage: str, plain: Mapping, overrides: Sequence[str], choices: Mapping[str, str | None]) -> None:
    """Check a resolved configuration (see ``compose.resolved``).

    ``overrides`` and ``choices``: as in ``Job``.

    Raises:
        UserError: the first mistake; nothing was written.
    """
    check_keys(plain, stage, overrides, choices)
    check(plain, stage, overrides, choices)  # imports what the configuration names, torch with it: keep it last
