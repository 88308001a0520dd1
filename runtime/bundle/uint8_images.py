"""Graphs whose images are uint8 NHWC at the boundary (docs/graph-contract.md, section 6).

The rest of the runtime holds images as float32 NCHW; here they are converted to uint8 for such a
graph, and its results back to float32. Nothing is lost: an image with more than 8 bits a channel is
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.graph_entry import IMAGES
from runtime.errors import ParameterError

IO = "uint8"
"""The manifest's `io` of such a graph."""

HEALTH = "health"
"""Output [N] of such a graph: 0 for a sound image; otherwise a positive number, infinity or NaN."""

SATURATED = 2.0
"""A pixel this far outside [0, 1] counts as saturated. The overshoot of a flow at τ = 1 stays well
below it; a value that overflowed in float16 and was capped at 65504 lies far above."""

_LARGEST = np.float32(255)

Array = NDArray[np.float32]
Runner = Callable[[Mapping[str, Any]], Mapping[str, NDArray[Any]]]


def is_exact(planes: Array) -> bool:
    """Whether every value is k/255 in float32, as 8-bit pixels are."""
    return bool(np.array_equal(_rounded(planes) / _LARGEST, planes))


def fits(feeds: Mapping[str, Any]) -> bool:
    """Whether every image among a graph's inputs has 8 bits a channel."""
    return all(is_exact(x) for name, x in feeds.items() if name in IMAGES)


def to_bytes(planes: Array) -> NDArray[np.uint8]:
    """Float32 NCHW of 8-bit pixels → uint8 NHWC.

    Raises:
        ParameterError: a value is not one of the 256.
    """
    if not is_exact(planes):
        raise ParameterError(
            "this graph takes images of 8 bits a channel, and this image has more: use a graph "
            "with io float32 (--io float32)"
        )
    return np.ascontiguousarray(_rounded(planes).transpose(0, 2, 3, 1).astype(np.uint8))


def to_planes(image: NDArray[np.uint8]) -> Array:
    """Uint8 NHWC → float32 NCHW in [0, 1]."""
    return np.divide(np.ascontiguousarray(image.transpose(0, 3, 1, 2)), _LARGEST, dtype=np.float32)


def inputs(feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs of a uint8 graph from float32 images; raises `ParameterError` as `to_bytes`.

    Other inputs, such as latents, stay as they are.
    """
    return {name: to_bytes(x) if name in IMAGES else x for name, x in feeds.items()}


def run(runner: Runner, feeds: Mapping[str, Any]) -> dict[str, Array]:
    """Run a uint8 graph on float32 images; its outputs as float32, including `health`."""
    outputs = runner(inputs(feeds))
    return {name: to_planes(x) if name in IMAGES else x for name, x in outputs.items()}


def shape(name: str, planes: tuple[int, ...]) -> tuple[int, ...]:
    """Shape at the graph's boundary of an input or output with this shape as float32 NCHW."""
    if name not in IMAGES:
        return planes
    n, channels, height, width = planes
    return n, height, width, channels


def _rounded(planes: Array) -> Array:
    """× 255, rounded, within 0 to 255; NaN becomes 0, so `is_exact` is False for it."""
    scaled: Array = np.rint(np.clip(np.nan_to_num(planes), 0, 1) * _LARGEST)
    return scaled
