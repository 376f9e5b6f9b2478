"""What is counted of a server, and as the text that Prometheus reads.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Histogram:
    """How many values lie at or below each of ``bounds``."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def lines(self, name: str) -> Iterator[str]:
        below = 0
        for bound, count in zip([*self.bounds, "+Inf"], self.counts, strict=True):
            below += count
            yield f'{name}_bucket{{le="{bound}"}} {below}'
        yield f"{name}_sum {self.total}"
        yield f"{name}_count {below}"


class Counts:
    """Requests by path and code, how long they took, how many rows were answered together, and what waits now."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.seconds, self.batches = Histogram(SECONDS), Histogram(ROWS)
        self.begun = self.waiting = self.tokens = 0

    def answered(self, path: str, code: int, seconds: float) -> None:
        self.requests[path, code] += 1
        self.seconds.add(seconds)

    def text(self) -> str:
        lines: list[str] = []

        def family(name: str, kind: str, what: str, samples: Iterator[str] | Sequence[str]) -> None:
            lines.extend((f"# HELP groundup_{name} {what}", f"# TYPE groundup_{name} {kind}", *samples))

        by_code = sorted(self.requests.items())
        requests = [f'groundup_requests_total{{path="{path}",code="{code}"}} {n}' for (path, code), n in by_code]
        errors: Counter[int] = Counter()
        for (_, code), count in by_code:
            errors[code] += count if code >= 400 else 0
        family("requests_total", "counter", "Requests answered, by path and code.", requests)
        told = [f'groundup_errors_total{{code="{code}"}} {count}' for code, count in sorted(errors.items()) if count]
        family("errors_total", "counter", "Requests refused or failed, by code.", told)
        unanswered = self.begun - self.requests.total()
        family(
            "requests_in_progress", "gauge", "Requests being answered.", [f"groundup_requests_in_progress {unanswered}"]
        )
        seconds = self.seconds.lines("groundup_request_seconds")
        family("request_seconds", "histogram", "Seconds from a request's head to the end of its answer.", seconds)
        rows = self.batches.lines("groundup_batch_rows")
        family("batch_rows", "histogram", "Rows that were answered together.", rows)
        family("queue_rows", "gauge", "Rows that wait or are being answered.", [f"groundup_queue_rows {self.waiting}"])
        family("tokens_total", "counter", "Tokens that were written.", [f"groundup_tokens_total {self.tokens}"])
        return "\n".join(lines) + "\n"
