"""Processor time of a piece of work, for tests that tell linear from quadratic on machines where others work, too."""

from __future__ import annotations

import time
from collections.abc import Callable

_TURNS = 5


def processor_seconds(work: Callable[[], object], enough: float) -> float:
    """The least of up to five turns; the first one below ``enough`` ends it.

    A library's threads that wait for a core count as work of this process, so that one turn alone may be far above the others.
    """
    least = float("inf")
    for _ in range(_TURNS):
        start = time.process_time()
        work()
        least = min(least, time.process_time() - start)
        if least < enough:
            break
    return least
