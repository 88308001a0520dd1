"""How long a run takes, in percentiles after a warm-up, and the most that the machine can do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.system import gpus

WARM_UP_RUNS = 3
"""Runs before the clock starts, in which backends allocate, choose kernels and capture graphs."""

FEWEST_RUNS = 5
"""Fewest runs that are measured, however long they take."""


@dataclass(frozen=True)
class Latency:
    """Seconds of `runs` runs, one after another.

    Attributes:
        runs: how many were measured.
        p50, p90, p99: percentiles; with few runs p99 is the slowest.
        mean: the arithmetic mean, from which throughput is computed.
    """

    runs: int
    p50: float
    p90: float
    p99: float
    mean: float


def measure(
    run: Callable[[], object], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> Latency:
    """Run for about `seconds` after a warm-up, at least `FEWEST_RUNS` times.

    Args:
        run: one run, finished when it returns.
        seconds: how long to measure, > 0.
        clock: seconds since any fixed time.
    """
    for _ in range(WARM_UP_RUNS):
        run()
    times: list[float] = []
    start = clock()
    while len(times) < FEWEST_RUNS or clock() - start < seconds:
        begun = clock()
        run()
        times.append(clock() - begun)
    return summary(times)


def summary(times: Sequence[float]) -> Latency:
    """Percentiles of times by the nearest-rank rule: each is one of the measured times."""
    ordered = sorted(times)
    p50, p90, p99 = (ordered[math.ceil(q * len(ordered)) - 1] for q in (0.5, 0.9, 0.99))
    return Latency(len(ordered), p50, p90, p99, sum(ordered) / len(ordered))


@dataclass(frozen=True)
class Ceiling:
    """The most a machine does: floating-point operations and bytes of memory a second.

    `source` says where the figures come from: a data sheet, or a measurement on this machine.
    """

    name: str
    flops: float
    bandwidth: float
    source: str

    def floor(self, flops: float, moved: float) -> float:
        """The fewest seconds that `flops` operations and `moved` bytes can take."""
        return max(flops / self.flops, moved / self.bandwidth)


def gpu_ceiling(name: str, precision: str, multiprocessors: int) -> Ceiling | None:
    """Figures of a GPU's data sheet; None where the table has not this GPU, whole (`gpus`).

    Args:
        name: the driver's.
        precision: of the graph.
        multiprocessors: the driver's count.
    """
    found = gpus.data_sheet(name, multiprocessors)
    peak = found and found[1].peak(precision)
    if found is None or peak is None:
        return None
    title, sheet = found
    return Ceiling(title, peak * 1e12, sheet.bandwidth * 1e9, gpus.SOURCE)


def cpu_ceiling(multiply: Callable[[], object], operations: float, name: str) -> Ceiling:
    """The measured ceiling of this CPU: the best of several matrix products, and of copies.

    Args:
        multiply: one large float32 matrix product on the threads in question.
        operations: its floating-point operations.
        name: of the processor.
    """
    source, target = np.ones(1 << 26, np.float32), np.empty(1 << 26, np.float32)

    def copy() -> None:
        np.copyto(target, source)

    best = {}
    for work in (multiply, copy):
        work()
        times = []
        for _ in range(7):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        best[work] = min(times)
    return Ceiling(
        name, operations / best[multiply], 2 * source.nbytes / best[copy], "measured here"
    )
