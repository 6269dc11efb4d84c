"""What Prometheus reads at `/metrics`. No label has the name of a task: a bank may have thousands."""

from collections.abc import Callable

from supermasks.serving.extra import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

KINDS = ("task", "any", "all", "put", "delete")
"""What is asked: a named task, the task unknown, all tasks, or a change of the bank."""

OUTCOMES = {
    200: "ok",
    201: "ok",
    400: "bad_request",
    401: "unauthorised",
    403: "forbidden",
    404: "unknown_task",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    415: "bad_request",
    429: "overloaded",
    499: "gone",
    503: "unavailable",
}
"""The label of each status of HTTP; others are `error`."""

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """Counters, gauges and histograms in a registry of their own.

    Args:
        queue: returns how many requests wait.
        tasks: returns how many tasks the bank has.
        size: returns the bytes of the bank on the disk.
    """

    def __init__(self, queue: Callable[[], float], tasks: Callable[[], float], size: Callable[[], float]) -> None:
        self._registry = registry = CollectorRegistry()
        labels = ["kind", "outcome"]
        self._requests = Counter("supermasks_requests", "Requests, by kind and outcome.", labels, registry=registry)
        self._rows = Counter("supermasks_rows", "Rows that were answered.", ["kind"], registry=registry)
        self._seconds = Histogram(
            "supermasks_request_seconds",
            "Time from a request's first byte to its response.",
            ["kind"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch_requests = Histogram(
            "supermasks_batch_requests", "Requests computed together.", buckets=_COUNTS, registry=registry
        )
        self._batch_rows = Histogram(
            "supermasks_batch_rows", "Rows computed together.", buckets=_COUNTS, registry=registry
        )
        self._batch_seconds = Histogram(
            "supermasks_batch_seconds", "Time to compute a batch.", buckets=_SECONDS, registry=registry
        )
        self._failures = Counter(
            "supermasks_bank_failures", "Looks at a changed bank that could not be read.", registry=registry
        )
        for name, text, value in (
            ("supermasks_queue", "Requests that wait.", queue),
            ("supermasks_tasks", "Tasks of the bank.", tasks),
            ("supermasks_bank_bytes", "Bytes of the bank on the disk.", size),
        ):
            Gauge(name, text, registry=registry).set_function(value)
        ProcessCollector(registry=registry)

    def answered(self, kind: str, status: int, rows: int, seconds: float) -> None:
        """Count a request."""
        outcome = OUTCOMES.get(status, "error")
        self._requests.labels(kind, outcome).inc()
        self._seconds.labels(kind).observe(seconds)
        if outcome == "ok" and rows:
            self._rows.labels(kind).inc(rows)

    def computed(self, requests: int, rows: int, seconds: float) -> None:
        """Count a batch."""
        self._batch_requests.observe(requests)
        self._batch_rows.observe(rows)
        self._batch_seconds.observe(seconds)

    def bank_failed(self) -> None:
        """Count a look at a bank that could not be read."""
        self._failures.inc()

    def text(self) -> bytes:
        """Return everything in the format of Prometheus."""
        return generate_latest(self._registry)
