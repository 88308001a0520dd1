"""INT8 ranges by min-max, percentile or entropy, over histograms of real values.

Histograms are ONNX Runtime's; ranges are symmetric, so one number each.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

Method = Literal["minmax", "percentile", "entropy"]
METHODS: tuple[Method, ...] = ("minmax", "percentile", "entropy")

PERCENTILE = 99.99
BINS = 1024
LEVELS = 128

Ranges = Mapping[str, float]
"""Largest magnitude that INT8 still represents, by the convolution that reads the values."""


class Histograms:
    """Histograms of values by name; memory does not grow with the values."""

    def __init__(self) -> None:
        self._collector = _collector()

    def add(self, name: str, values: NDArray[np.float32]) -> None:
        """Count values of any shape."""
        self._collector.collect_value({name: values})

    def ranges(self, method: Method) -> dict[str, float]:
        """The range of every name by one method; never 0."""
        found = {}
        for name, histogram in self._collector.get_histogram_dict().items():
            largest = max(float(_range(histogram, method)), float(np.finfo(np.float32).tiny))
            found[name] = largest
        return found


def _range(histogram: Any, method: Method) -> float:
    counts, _, _, _, threshold = histogram
    if method == "minmax" or float(threshold) == 0:
        return float(threshold)
    half = len(counts) // 2
    magnitudes = counts[half:] + counts[:half][::-1]  # bins are symmetric around 0
    merged = -(-len(magnitudes) // (BINS // 2))  # later values may have added bins
    padded = np.pad(magnitudes, (0, -len(magnitudes) % merged))
    magnitudes = padded.reshape(-1, merged).sum(1)
    width = float(threshold) * merged / half
    if method == "entropy":
        kept = _least_divergence(magnitudes)
    else:
        share = np.cumsum(magnitudes) / magnitudes.sum()
        kept = int(np.searchsorted(share, PERCENTILE / 100)) + 1
    return min(kept * width, float(threshold))


def _least_divergence(magnitudes: NDArray[np.int64]) -> int:
    """Bins to keep so that 128 levels tell least from the values (TensorRT's KL criterion).

    ONNX Runtime has the same criterion in a Python loop over levels, minutes for one network.
    """
    best = len(magnitudes), np.inf
    for kept in range(LEVELS, len(magnitudes) + 1):
        inside = magnitudes[:kept].astype(np.float64)
        clipped = inside.copy()
        clipped[-1] += magnitudes[kept:].sum()
        starts = np.arange(LEVELS) * kept // LEVELS
        filled = inside > 0
        occupied = np.maximum(np.add.reduceat(filled.astype(np.int64), starts), 1)
        level = np.add.reduceat(inside, starts) / occupied
        spread = np.repeat(level, np.diff(np.append(starts, kept))) * filled
        if not spread.any():
            continue
        p, q = clipped / clipped.sum(), spread / spread.sum()
        used = p > 0
        divergence = float((p[used] * np.log(p[used] / np.maximum(q[used], 1e-12))).sum())
        if divergence < best[1]:
            best = kept, divergence
    return best[0]


def _collector() -> Any:
    return HistogramCollector("entropy", True, BINS, LEVELS, PERCENTILE, "same")
