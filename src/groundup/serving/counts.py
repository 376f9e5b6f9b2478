"""What is counted of a server, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Counts:
    """Requests by path and code, how long they took, how many rows were answered together, and what waits now."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "groundup_requests", "Requests answered, by path and code.", ["path", "code"], registry=self.registry
        )
        self._seconds = Histogram(
            "groundup_request_seconds",
            "Seconds from a request's head to the end of its answer.",
            registry=self.registry,
            buckets=SECONDS,
        )
        self._batches = Histogram(
            "groundup_batch_rows", "Rows that were answered together.", registry=self.registry, buckets=ROWS
        )
        self._tokens = Counter("groundup_tokens", "Tokens that were written.", registry=self.registry)
        self.begun = self.ended = self.waiting = 0
        in_progress = Gauge("groundup_requests_in_progress", "Requests being answered.", registry=self.registry)
        in_progress.set_function(lambda: self.begun - self.ended)
        queue = Gauge("groundup_queue_rows", "Rows that wait or are being answered.", registry=self.registry)
        queue.set_function(lambda: self.waiting)

    def answered(self, path: str, code: int, seconds: float) -> None:
        self.ended += 1
        self._requests.labels(path, code).inc()
        self._seconds.observe(seconds)

    def together(self, rows: int) -> None:
        self._batches.observe(rows)

    def wrote(self, tokens: int) -> None:
        self._tokens.inc(tokens)

    def text(self) -> bytes:
        return generate_latest(self.registry)
