"""How long to train, in one of several units. Needs no torch, so that two units at once are refused before data is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from groundup.config.files import conf_dir, stage_keys
from groundup.config.values import shown
from groundup.errors import UserError

UNITS = ("steps", "tokens", "epochs", "minutes")
WHOLE = ("steps", "tokens")
AUTO = "auto"  # epochs: as many as a set of this size wants
WORD = re.compile(r"(\d+(?:\.\d+)?(?:[eE]\+?\d+)?)([a-z]+)")


def budget_of(budget: Mapping[str, float | None] | str, overrides: Sequence[str]) -> dict[str, float | None]:
    """Unit -> amount, of ``budget=5epochs`` as of ``budget.epochs=5``.

    A unit that ``overrides``, the command line, name replaces the one that the stage counts in by default.

    Raises:
        UserError: a word that is no number with its unit; a word and a unit at once.
    """
    keys = [word.lstrip("+") for word in overrides if word.lstrip("+").startswith("budget.")]
    if not isinstance(budget, Mapping):
        if keys:
            raise UserError(f"{keys[0]} and budget={shown(budget)}: a budget is given once. Leave out {keys[0]}")
        return {**dict.fromkeys(UNITS), **in_unit(budget)}
    named = {key.partition("=")[0].removeprefix("budget.") for key in keys}
    if any(budget.get(unit) is not None for unit in named):
        return {unit: amount if unit in named else None for unit, amount in budget.items()}
    return dict(budget)


def in_unit(word: object) -> dict[str, float]:
    """``2e6tokens`` -> ``{"tokens": 2000000}``. Raises UserError: see ``budget_of``."""
    typed = str(word)
    if found := _read(typed):
        return dict([found])
    parts, match = [part.strip() for part in typed.split(",")], WORD.fullmatch(typed)
    near = [unit for unit in UNITS if match and 3 <= len(match[2]) < len(unit) and unit.startswith(match[2])]
    if len(parts) > 1 and all(map(_read, parts)):
        advice = f"-m budget={','.join(parts)}"  # one run for each
    elif match and near:
        advice = f"budget={match[1]}{near[0]}"
    elif typed.isdigit():
        advice = f"budget={typed}steps or budget={typed}epochs"
    else:
        advice = "budget=5epochs"
    raise UserError(
        f"budget={shown(word)}: a budget is a number and its unit: whole steps or tokens, epochs or minutes. Try {advice}"
    )


def in_minutes_only(unit: str, amount: object, steps: Mapping[str, Mapping]) -> str:
    """What is said of a pipeline's budget in another unit: which of its ``steps`` have one of their own."""
    theirs = [name for name, node in steps.items() if "budget" in stage_keys(conf_dir(), str(node.get("stage")))]
    tries = [*(f"{name}.budget.{unit}={shown(amount)}" for name in theirs), "budget.minutes=20"]
    listed = " or ".join(filter(None, [", ".join(tries[:-1]), tries[-1]]))
    return f"budget.{unit}={shown(amount)}: a pipeline is bounded in minutes, its steps in any unit. Try {listed}"


def _read(word: str) -> tuple[str, float] | None:
    match = WORD.fullmatch(word)
    if match is None or match[2] not in UNITS:
        return None
    unit, amount = match[2], float(match[1])
    if not 0 < amount < float("inf") or (unit in WHOLE and not amount.is_integer()):
        return None
    return unit, int(amount) if amount.is_integer() else amount


def epochs_for(rows: int) -> float:
    """Passes over labelled rows that train a small network from word vectors: 3 + 12,000 / rows, 4 at least, 30 at most.

    Measured on sets of 500 to 18,000 rows.
    """
    return min(max(3 + 12_000 / max(rows, 1), 4.0), 30.0)


def one_unit(budget: Mapping[str, Any]) -> tuple[str, Any]:
    """The unit and the amount: a number, or of epochs also ``AUTO``.

    Raises:
        UserError: none or several are given, or the amount is not positive.
    """
    given = {unit: amount for unit in UNITS if (amount := budget.get(unit)) is not None}
    if len(given) > 1:
        words = [f"budget.{unit}={shown(amount)}" for unit, amount in given.items()]
        raise UserError(f"{' and '.join(words)}: a budget has one unit. Try {' or '.join(words)}")
    if not given:
        raise UserError(
            f"no budget: give one of {', '.join(f'budget.{unit}' for unit in UNITS)}. Try budget.steps=1000"
        )
    unit, amount = next(iter(given.items()))
    if amount != AUTO and not 0 < amount < float("inf"):
        raise UserError(f"budget.{unit}={amount:g}: must be a number above 0. Try budget.{unit}=1")
    return unit, amount
