"""95 % intervals, by Wilson's formula or by the bootstrap."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from groundup.metrics.estimate import Estimate

RESAMPLES = 1000
_LEVEL = (2.5, 97.5)  # percentiles of a 95 % interval
_CELLS = 40_000_000  # rows x columns x resamples that one interval may cost; about a second


def wilson(successes: float, n: int) -> Estimate:
    """A share of successes with Wilson's score interval, which stays inside 0..1 and is sound for small n.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if n == 0:
        return Estimate(math.nan, None, None, 0)
    z, share = 1.959963984540054, successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), n)


def interval(value: float, resampled: np.ndarray, n: int) -> Estimate:
    """``value`` with the 2.5 and 97.5 percentiles of its resampled values (R,); NaN among them are left out."""
    resampled = resampled[~np.isnan(resampled)]
    if n < 2 or len(resampled) == 0:
        return Estimate(float(value), None, None, n)
    low, high = np.percentile(resampled, _LEVEL)
    return Estimate(float(value), float(low), float(high), n)


def resample_weights(rows: int, columns: int = 1, seed: int = 0, resamples: int = RESAMPLES) -> Iterator[np.ndarray]:
    """Bootstrap samples as weights: arrays (N, r), how often each row was drawn, the chunks' r adding up to R.

    R is ``resamples`` while rows x columns x R is cheap, and falls to 200 for large tables. Weights say the same as drawn rows,
    and let every resample share one sorting. Source: Efron 1979, "Bootstrap methods".
    """
    resamples = int(min(resamples, max(200, _CELLS / max(1, rows * columns))))
    generator = np.random.default_rng(seed)
    chunk = max(1, min(resamples, 2_000_000 // max(1, rows)))
    for start in range(0, resamples, chunk):
        r = min(chunk, resamples - start)
        drawn = generator.integers(0, rows, size=(rows, r))
        drawn *= r
        drawn += np.arange(r)
        yield np.bincount(drawn.ravel(), minlength=rows * r).reshape(rows, r).astype(np.float32)


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    rows: int,
    seed: int = 0,
    resamples: int = RESAMPLES,
    columns: int = 1,
) -> Estimate:
    """A statistic of N rows with its percentile interval.

    Args:
        statistic: row weights (N, R) -> values (R,). All-one weights (N, 1) give the value itself.
        rows: N.
        resamples: R; 0 leaves the interval out.
        columns: how many times N numbers the statistic touches; many columns get fewer resamples.
    """
    value = float(statistic(np.ones((rows, 1), dtype=np.float32))[0])
    if rows < 2 or resamples == 0:
        return Estimate(value, None, None, rows)
    values = [statistic(weights) for weights in resample_weights(rows, columns, seed, resamples)]
    return interval(value, np.concatenate(values), rows)


def as_array(values, dtype=np.float64) -> np.ndarray:
    """An array of ``dtype`` from nested lists, an array, or a tensor of any precision on any device.

    ``dtype=None`` keeps float32 and float64 as they are.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() and values.element_size() < 4 else values).numpy()
    array = np.asarray(values)
    return array if dtype is None else array.astype(dtype, copy=False)
