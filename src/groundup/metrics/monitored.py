"""What each task measures at a validation, so that ``monitor`` is checked before training. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Literal

from groundup.errors import UserError

LANGUAGE = ("loss", "perplexity", "accuracy")
WRITTEN = ("loss", "perplexity", "bits_per_byte", "token_accuracy")
ABOUT_TEXT = ("length_ratio", "copy_rate", "repetition_rate", "distinct_1", "distinct_2")  # what kind of text it is
# Class of the task -> its metrics. A task of one's own may report any.
MEASURED: Mapping[str, tuple[str, ...]] = {
    "CausalLM": (*LANGUAGE, "bits_per_byte"),
    "Denoising": (*LANGUAGE, "bits_per_byte"),
    "MaskedLM": LANGUAGE,
    "SpanCorruption": LANGUAGE,
    "Classification": (
        *("loss", "accuracy", "macro_f1", "macro_precision", "macro_recall"),
        *("micro_f1", "micro_precision", "micro_recall", "auroc"),
    ),
    "Translation": (*WRITTEN, "bleu", "chrf", "exact_match", *ABOUT_TEXT),
    "Summarization": (*WRITTEN, "rouge_1", "rouge_2", "rouge_l", *ABOUT_TEXT),
}
# What else people call them.
ALSO = {"acc": "accuracy", "f1": "macro_f1", "f1_macro": "macro_f1", "f1_micro": "micro_f1", "auc": "auroc", "roc_auc": "auroc",
        "ppl": "perplexity", "nll": "loss", "cross_entropy": "loss", "bpb": "bits_per_byte", "em": "exact_match",
        "rouge1": "rouge_1", "rouge2": "rouge_2", "rougel": "rouge_l", "precision": "macro_precision",
        "recall": "macro_recall"}  # fmt: skip


def check_monitor(cfg: Mapping) -> None:
    """Raises UserError where ``cfg.monitor`` is no metric of the task's validation; the line lists those that are."""
    monitor, names = cfg.get("monitor"), measured(cfg.get("task"))
    split, _, name = str(monitor).rpartition("/")
    if not monitor or not names or (split == "validation" and (name in names or name.startswith("exact_match_"))):
        return
    bare = re.sub(
        r"^(eval|val|valid|validation|test|dev|train)_", "", base_name(str(monitor)).lower().replace("-", "_")
    )
    meant = next((found for found in (bare, ALSO.get(bare)) if found in names), None)
    known = ", ".join(f"validation/{one}" for one in names if BETTER.get(one))
    advice = f". Try monitor=validation/{meant}" if meant else ""
    raise UserError(f"monitor={monitor}: this task's validation reports {known}{advice}")


def measured(task: Mapping | None) -> tuple[str, ...]:
    """The metrics of the task that a configuration names; empty where they are not known here."""
    home, _, name = str((task or {}).get("_target_", "")).rpartition(".")
    return MEASURED.get(name, ()) if home.startswith("groundup.tasks") else ()


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
