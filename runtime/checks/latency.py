"""How long a run takes, in percentiles after a warm-up, and the most that the machine can do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

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


# Dense peak in TFLOP/s (float32; float16 with float32 accumulation in tensor cores; int8 in TOP/s)
# and GB/s, by NVIDIA's data sheets and architecture whitepapers.
_GPUS: dict[str, tuple[float, float, float, float]] = {
    "RTX 2080 Ti": (13.4, 53.8, 215.2, 616),
    "T4": (8.1, 65, 130, 320),
    "RTX 3060": (12.7, 25.3, 101, 360),
    "RTX 3080": (29.8, 59.5, 238, 760),
    "RTX 3090": (35.6, 71, 284, 936),
    "A10": (31.2, 125, 250, 600),
    "A100": (19.5, 312, 624, 1555),
    "RTX 4070": (29.1, 58.3, 233, 504),
    "RTX 4080": (48.7, 97.5, 390, 717),
    "RTX 4090": (82.6, 165.2, 660.6, 1008),
    "L4": (30.3, 121, 242, 300),
    "L40S": (91.6, 362, 733, 864),
    "H100": (66.9, 989, 1979, 3350),
    "RTX 5080": (56.3, 112.6, 450.2, 960),
    "RTX 5090": (104.8, 209.5, 838, 1792),
}


def gpu_ceiling(name: str, precision: str) -> Ceiling | None:
    """Figures of a GPU's data sheet, by the driver's name for it; None when not in the table."""
    found = [key for key in _GPUS if key in name]
    if not found:
        return None
    key = max(found, key=len)
    row = _GPUS[key]
    column = ("fp32", "fp16", "int8").index(precision)
    return Ceiling(key, row[column] * 1e12, row[3] * 1e9, "NVIDIA's data sheet")


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
