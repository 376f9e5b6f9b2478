"""Which way each metric gets better: asked before training, at each validation, and by tables. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Literal

from groundup.errors import UserError

Direction = Literal["min", "max"]

# None: the figure tells what kind of text it is, not how good.
BETTER: Mapping[str, Direction | None] = {
    "loss": "min",
    "perplexity": "min",
    "bits_per_byte": "min",
    "accuracy": "max",
    "token_accuracy": "max",
    "macro_precision": "max",
    "macro_recall": "max",
    "macro_f1": "max",
    "micro_precision": "max",
    "micro_recall": "max",
    "micro_f1": "max",
    "auroc": "max",
    "bleu": "max",
    "chrf": "max",
    "exact_match": "max",
    "rouge_1": "max",
    "rouge_2": "max",
    "rouge_l": "max",
    "length_ratio": None,
    "copy_rate": None,
    "repetition_rate": None,
    "distinct_1": None,
    "distinct_2": None,
}
OF_GROUPS = ("exact_match",)  # measured on groups of rows too: exact_match_new_years


def base_name(metric: str) -> str:
    """The name without its split: ``test/bleu`` -> ``bleu``."""
    return metric.rsplit("/", 1)[-1]


def direction(metric: str) -> Direction | None:
    """Whether a lower (``min``) or a higher (``max``) value is better, whatever the split; None where that is unknown."""
    name = base_name(metric)
    grouped = next((known for known in OF_GROUPS if name.startswith(f"{known}_")), name)
    return BETTER.get(name, BETTER.get(grouped))


def lower_is_better(metric: str) -> bool:
    """True for losses, whatever their split."""
    return direction(metric) == "min"


def chosen_direction(monitor: str, mode: Direction | None) -> Direction:
    """``mode`` where it is given, else the metric's own direction.

    Raises:
        UserError: the metric has no direction that is known here.
    """
    if (found := mode or direction(monitor)) is not None:
        return found
    split, slash, name = monitor.rpartition("/")
    if near := get_close_matches(name, [known for known, better in BETTER.items() if better], n=1):
        raise UserError(
            f"monitor={monitor}: did you mean {split}{slash}{near[0]}? A metric of your own needs monitor_mode=max or "
            "monitor_mode=min beside it"
        )
    raise UserError(f"monitor={monitor}: is more of it better, or less? Add monitor_mode=max or monitor_mode=min")
