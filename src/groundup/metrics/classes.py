"""What is said of a row whose classes have probabilities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

NAMED = 100  # classes whose probabilities a prediction lists
ANSWERS = ("predicted", "probability", "probabilities")


def named_classes(probabilities: np.ndarray, labels: Sequence[str], most: int = NAMED) -> list[dict[str, Any]]:
    """The best class of each row, its probability, and those of all classes; of very many, of the ``most`` likely.

    Args:
        probabilities: (N, C). labels: names of the C classes.
    """
    classes = len(labels)
    if classes > most:
        chosen = np.argsort(-probabilities, axis=1, kind="stable")[:, :most]
    else:
        chosen = np.broadcast_to(np.arange(classes), probabilities.shape)
    best = probabilities.argmax(axis=1)
    return [
        {
            "predicted": labels[top],
            "probability": values[top],
            "probabilities": {labels[place]: values[place] for place in places},
        }
        for top, places, values in zip(best.tolist(), chosen.tolist(), probabilities.tolist(), strict=True)
    ]


def answered_rows(
    index: Iterable[int], truth: Iterable[str], probabilities: np.ndarray, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Prediction rows, as ``predictions.jsonl`` holds them: which row of the split, its true class, and ``named_classes``."""
    answers = named_classes(probabilities, labels)
    return [{"index": place, "label": true, **row} for place, true, row in zip(index, truth, answers, strict=True)]


def probability_table(rows: Sequence[Mapping], names: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """Probabilities (N, C) and true classes (N,) of prediction rows; None where they do not tell those of all classes."""
    number = {name: place for place, name in enumerate(names)}
    told = (row["label"] in number and number.keys() == (row.get("probabilities") or {}).keys() for row in rows)
    if not rows or not all(told):
        return None
    table = np.array([[row["probabilities"][name] for name in names] for row in rows])
    return table, np.array([number[row["label"]] for row in rows])
