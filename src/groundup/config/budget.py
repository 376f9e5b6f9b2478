"""How long to train, as a configuration says it: one unit. Needs no torch, so that two are refused before data is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from groundup.errors import UserError

UNITS = ("steps", "tokens", "epochs", "minutes")


def named_budget(budget: Mapping[str, float | None], overrides: Sequence[str]) -> dict[str, float | None]:
    """``budget.steps=100`` on the command line replaces the unit that the stage counts in by default."""
    named = {word.partition("=")[0].removeprefix("budget.") for word in overrides if word.startswith("budget.")}
    if any(budget.get(unit) is not None for unit in named):
        return {unit: amount if unit in named else None for unit, amount in budget.items()}
    return dict(budget)


def one_unit(budget: Mapping[str, float | None]) -> tuple[str, float]:
    """The unit and the amount.

    Raises:
        UserError: none or several are given, or the amount is not positive.
    """
    given = {unit: amount for unit in UNITS if (amount := budget.get(unit)) is not None}
    if len(given) > 1:
        words = [f"budget.{unit}={amount:g}" for unit, amount in given.items()]
        raise UserError(f"{' and '.join(words)}: a budget has one unit. Try {' or '.join(words)}")
    if not given:
        raise UserError(
            f"no budget: give one of {', '.join(f'budget.{unit}' for unit in UNITS)}. Try budget.steps=1000"
        )
    unit, amount = next(iter(given.items()))
    if amount <= 0:
        raise UserError(f"budget.{unit}={amount:g} must be positive. Try budget.{unit}=1")
    return unit, amount
