"""Rows of like length side by side, so that a batch of neighbours pads little."""

from __future__ import annotations

import numpy as np


def by_length(lengths: np.ndarray, size: int) -> np.ndarray:
    """An order of rows in which ``size`` neighbours are of like length: short ones first, ties as they stand.

    ``lengths`` (rows,), or (rows, sides) where rows must be alike on every side: then all rows are halved by the side
    that leaves the fewest positions to fill, and so on down to ``size`` (a k-d tree, Bentley 1975). Sorting by one side
    and then the other pads half as much again.
    """
    if lengths.ndim == 1:
        return np.argsort(lengths, kind="stable")
    return np.concatenate(_halved(np.arange(len(lengths)), lengths, size))


def positions(lengths: np.ndarray) -> int:
    """Positions that these rows take as one batch, padding counted, on all sides."""
    return len(lengths) * int(lengths.max(axis=0).sum())


def _halved(rows: np.ndarray, lengths: np.ndarray, size: int) -> list[np.ndarray]:
    if len(rows) <= size:
        return [rows]
    middle = -(-len(rows) // size) // 2 * size  # whole batches on the left
    orders = [rows[np.argsort(lengths[rows, side], kind="stable")] for side in range(lengths.shape[1])]
    best = min(orders, key=lambda order: positions(lengths[order[:middle]]) + positions(lengths[order[middle:]]))
    return _halved(best[:middle], lengths, size) + _halved(best[middle:], lengths, size)
