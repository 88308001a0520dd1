"""8-bit encodings of values and weights: INT8 and FP8 (E4M3), and where each is used.

A CPU takes INT8 with a scale per output channel. TensorRT-RTX fuses nothing behind such weights
and writes float32, so what is made for it has one scale a tensor (docs/precision.md, 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

LARGEST = 127
"""Largest INT8 activation, and weight that reads an INT8 concatenation."""
LARGEST_SEVEN_BITS = 63
"""Largest of any other weight on a CPU: 2 · 255 · 63 still fits 16 bits."""
LARGEST_E4M3 = 448
"""Largest finite number of float8_e4m3fn."""


@dataclass(frozen=True)
class Encoding:
    """How the values of a tensor become 8 bits.

    Attributes:
        dtype: of the encoded values.
        largest: that an activation is encoded to; values beyond it are clipped.
        per_channel: whether weights have a scale per output channel, else one a tensor.
        joins_parts: whether the parts of a concatenation are encoded, not the concatenation. FP8
            cannot join them: ONNX's Concat takes no float8.
    """

    dtype: np.dtype[Any]
    largest: int
    per_channel: bool
    joins_parts: bool

    def encode(self, values: NDArray[np.floating]) -> NDArray[Any]:
        """The nearest encoded values, ties to even, clipped to ±`largest`."""
        clipped = np.clip(values, -self.largest, self.largest)
        rounded = np.rint(clipped) if self.dtype.kind == "i" else clipped
        encoded: NDArray[Any] = rounded.astype(self.dtype)
        return encoded


INT8 = Encoding(np.dtype(np.int8), LARGEST, per_channel=True, joins_parts=True)
INT8_PER_TENSOR = Encoding(np.dtype(np.int8), LARGEST, per_channel=False, joins_parts=False)
FP8 = Encoding(
    np.dtype(ml_dtypes.float8_e4m3fn), LARGEST_E4M3, per_channel=False, joins_parts=False
)


@dataclass(frozen=True)
class Weights:
    """A convolution's weights [O, I, kh, kw], and their scale, [O] or [], as the graph's floats."""

    values: NDArray[Any]
    scale: NDArray[np.floating]

    @property
    def dequantised(self) -> NDArray[np.float32]:
        """What the convolution multiplies by."""
        return self.values.astype(np.float32) * _spread(self.scale)


def quantise_weights(
    weight: NDArray[np.floating], largest: int, encoding: Encoding = INT8
) -> Weights:
    """Symmetric weights; of `INT8` with magnitudes up to `largest`, else up to the encoding's."""
    exact = weight.astype(np.float32)
    axes = (1, 2, 3) if encoding.per_channel else None
    most = largest if encoding.per_channel else encoding.largest
    scale = _scale(np.abs(exact).max(axis=axes) / np.float32(most), weight.dtype)
    steps = np.clip(exact / _spread(scale), -most, most)
    return Weights(encoding.encode(steps), scale)


def activation_scale(
    magnitude: float, dtype: np.dtype[np.floating], encoding: Encoding = INT8
) -> NDArray[np.floating]:
    """The scale of a tensor whose values reach `magnitude`, a scalar [] of the graph's floats."""
    return _scale(np.float32(magnitude / encoding.largest), dtype)


def _scale(
    value: NDArray[np.floating] | np.floating, dtype: np.dtype[np.floating]
) -> NDArray[np.floating]:
    # The smallest normal number: a scale that underflows to 0 would divide by it.
    return np.asarray(np.maximum(value, np.finfo(dtype).tiny)).astype(dtype)


def _spread(scale: NDArray[np.floating]) -> NDArray[np.float32]:
    exact = scale.astype(np.float32)
    return exact[:, None, None, None] if exact.ndim else exact
