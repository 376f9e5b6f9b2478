"""The nearest name to a misspelt one."""

from __future__ import annotations

import re
from collections.abc import Collection


def closest(word: str, words: Collection[str]) -> str | None:
    """The word itself, in whatever case, or the only one a slip of the finger away.

    What carries a meaning of its own must be the same: digits (beta1 is not betas) and short parts (top_k).
    """
    if word in words:
        return word
    if len(same := [other for other in words if other.lower() == word.lower()]) == 1:
        return same[0]
    near = [other for other in words if fixed_parts(word) == fixed_parts(other) and slips(word.lower(), other) == 1]
    return near[0] if len(near) == 1 else None


def fixed_parts(word: str) -> list[str]:
    return [*re.findall(r"\d+", word), *(part for part in word.split("_") if len(part) < 3)]


def slips(one: str, other: str) -> int:
    """Letters wrong, missing, too many or swapped with a neighbour (Damerau 1964)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        older, before, row = before, row, [i]
        for j, b in enumerate(other, 1):
            cost = min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and one[i - 2] == b:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]
