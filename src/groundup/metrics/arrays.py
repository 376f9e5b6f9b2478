"""Numbers from tensors, arrays or lists, for metrics that are computed with NumPy."""

from __future__ import annotations

import numpy as np


def as_array(values, dtype=np.float64) -> np.ndarray:
    """An array of ``dtype`` from nested lists, an array, or a tensor of any precision on any device."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.double() if values.is_floating_point() else values).numpy()
    return np.asarray(values).astype(dtype, copy=False)
