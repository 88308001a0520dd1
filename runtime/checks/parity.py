"""Is an output right? Error figures against a float64 reference, and the budget for each precision.

Export records these figures when it builds, `hcflow verify` measures them again elsewhere; both
call `compare`, so that the figures can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.graph_entry import IMAGES, Precision


@dataclass(frozen=True)
class Budget:
    """Limits of one kind of output; None is no limit: the figure is only reported."""

    min_psnr_db: float | None = None
    max_abs: float | None = None
    max_rel: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Figures of one output.

    psnr_db: 10·log₁₀(1/MSE), peak 1.0; None where the two are identical.
    max_abs: largest absolute error; infinite where an output is NaN or infinite.
    max_rel: max_abs / largest magnitude of the reference; None where that is 0.
    ok: everything is finite and within the budget.
    """

    psnr_db: float | None
    max_abs: float
    max_rel: float | None
    ok: bool


IMAGE_BUDGETS: Mapping[Precision, Budget] = {
    "fp32": Budget(min_psnr_db=90.0, max_abs=1e-4),
    "fp16": Budget(min_psnr_db=50.0),
    "int8": Budget(),
    "fp8": Budget(),
}
OTHER_BUDGETS: Mapping[Precision, Budget] = {
    "fp32": Budget(max_rel=1e-4),
    "fp16": Budget(),
    "int8": Budget(),
    "fp8": Budget(),
}


BYTE_BUDGETS: Mapping[Precision, Budget] = {
    "fp32": Budget(max_abs=0.5 / 255 + 1e-4),
    "fp16": Budget(min_psnr_db=50.0),
    "int8": Budget(),
    "fp8": Budget(),
}
"""For images that the graph itself rounds to 8 bits, against the clipped reference: half a step
plus what the unrounded image may differ."""


def budget(name: str, precision: Precision, io: str = "float32") -> Budget:
    """The budget of an output at a precision; latents and logp are judged by relative error."""
    if name not in IMAGES:
        return OTHER_BUDGETS[precision]
    return (IMAGE_BUDGETS if io == "float32" else BYTE_BUDGETS)[precision]


def psnr(got: NDArray[np.floating], want: NDArray[np.floating]) -> float:
    """PSNR in dB, peak 1.0, of arrays of one shape, in float64; infinite where they are equal."""
    return psnr_of(float(np.mean(np.square(got.astype(np.float64) - want.astype(np.float64)))))


def psnr_of(mean_squared_error: float) -> float:
    """10·log₁₀(1/MSE), the PSNR in dB for peak 1.0; infinite where the error is 0."""
    return math.inf if mean_squared_error == 0 else -10 * float(np.log10(mean_squared_error))


def compare(
    name: str,
    got: NDArray[np.floating],
    want: NDArray[np.floating],
    precision: Precision,
    io: str = "float32",
) -> Comparison:
    """Measure an output against its reference (same shape; taken to float64) and judge it.

    Images of a graph whose `io` is `uint8` are given as k/255 and compared with the clipped
    reference. NaN or infinity in either is never ok; nor is another shape.
    """
    if got.shape != want.shape:
        return Comparison(float("-inf"), float("inf"), None, False)
    if io != "float32" and name in IMAGES:
        want = np.clip(want, 0, 1)
    with np.errstate(invalid="ignore"):  # ∞ − ∞ is NaN, and caught just below
        error = np.abs(got.astype(np.float64) - want.astype(np.float64))
    if not np.isfinite(error).all():
        return Comparison(float("-inf"), float("inf"), float("inf"), False)
    max_abs = float(error.max(initial=0.0))
    magnitude = float(np.abs(want).max(initial=0.0))
    mse = float(np.mean(np.square(error))) if error.size else 0.0
    psnr_db = psnr_of(mse) if mse > 0 else None
    max_rel = max_abs / magnitude if magnitude > 0 else None
    limits = budget(name, precision, io)
    ok = (
        (limits.min_psnr_db is None or psnr_db is None or psnr_db >= limits.min_psnr_db)
        and (limits.max_abs is None or max_abs <= limits.max_abs)
        and (
            limits.max_rel is None
            or (max_abs == 0 if max_rel is None else max_rel <= limits.max_rel)
        )
    )
    return Comparison(psnr_db, max_abs, max_rel, ok)
