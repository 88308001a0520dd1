"""What a server counts, in Prometheus's format."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from runtime.inference.cancel import Check

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TICK_SECONDS = 0.05


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self.requests = Counter(
            "hcflow_requests",
            "Requests that were answered, by path and status.",
            ("path", "code"),
            registry=self.registry,
        )
        self.gone = Counter(
            "hcflow_clients_gone",
            "Clients that left before their answer.",
            registry=self.registry,
        )
        self.stages = Histogram(
            "hcflow_stage_seconds",
            "Time of a request's stages: receive, queue, decode, wait, compute, encode.",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.pixels = Counter(
            "hcflow_pixels",
            "Pixels that went in and came out.",
            ("direction", "side"),
            registry=self.registry,
        )
        self.failures = Counter(
            "hcflow_inference_failures",
            "Inferences that failed by no fault of the request.",
            registry=self.registry,
        )

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Show a figure that is read when it is asked for."""
        Gauge(name, about, registry=self.registry).set_function(value)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a stage, however it ends."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.stages.labels(name).observe(time.monotonic() - start)

    def text(self) -> bytes:
        """All figures."""
        return generate_latest(self.registry)


class Gate:
    """Lets so many requests compute at once, and measures what they do before, in it and after.

    Args:
        places: of all requests.
        check: raises once this request is to end.

    One instance serves one request, in one thread; of several frames each enters anew.
    """

    def __init__(self, places: threading.Semaphore, check: Check) -> None:
        self._places, self._check = places, check
        self._since = time.monotonic()
        self._stage = "decode"
        self.seconds: dict[str, float] = {}

    def __enter__(self) -> Gate:
        self._next("wait")
        while not self._places.acquire(timeout=_TICK_SECONDS):
            self._check()
        self._next("compute")
        return self

    def __exit__(self, *_: object) -> None:
        self._places.release()
        self._next("encode")

    def finish(self, metrics: Metrics) -> None:
        """Count the stages."""
        self._next("")
        for stage, seconds in self.seconds.items():
            metrics.stages.labels(stage).observe(seconds)

    def _next(self, stage: str) -> None:
        now = time.monotonic()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now
