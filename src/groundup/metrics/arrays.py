"""Numbers from tensors, arrays or lists, for metrics that are computed with NumPy."""

from __future__ import annotations

import numpy as np


def as_array(values, dtype=np.float64) -> np.ndarray:
    """An array of ``dtype`` from nested lists, an array, or a tensor of any precision on any device.

    ``dtype=None`` keeps float32 and float64 as they are.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() and values.element_size() < 4 else values).numpy()
    array = np.asarray(values)
    return array if dtype is None else array.astype(dtype, copy=False)
