"""Graphs whose images are bytes: uint8 NHWC at the boundary (docs/graph-contract.md, section 6).

The rest of the runtime holds images as float32 NCHW; here they become bytes on the way into such a
graph, and floats again on the way out. Nothing is lost: an image that has more than 8 bits a
channel is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.graph_entry import IMAGES
from runtime.errors import ParameterError

IO = "uint8"
"""What the manifest calls the boundary of such a graph."""

HEALTH = "health"
"""Output [N] of such a graph: 0 where the image is sound; NaN, infinity or more where it is not."""

SATURATED = 2.0
"""How far outside [0, 1] a pixel counts as saturated. Overshoot of a flow at τ = 1 stays well
below; what overflowed in float16 and was capped at 65504 lies far above."""

_LARGEST = np.float32(255)

Array = NDArray[np.float32]
Runner = Callable[[Mapping[str, Any]], Mapping[str, NDArray[Any]]]


def is_exact(planes: Array) -> bool:
    """Whether every value is k/255 in float32, as 8-bit pixels are."""
    return bool(np.array_equal(_rounded(planes) / _LARGEST, planes))


def fits(feeds: Mapping[str, Any]) -> bool:
    """Whether every image among a graph's inputs is of 8 bits."""
    return all(is_exact(x) for name, x in feeds.items() if name in IMAGES)


def to_bytes(planes: Array) -> NDArray[np.uint8]:
    """Float32 NCHW of 8-bit pixels → uint8 NHWC.

    Raises:
        ParameterError: a value is none of the 256.
    """
    if not is_exact(planes):
        raise ParameterError(
            "this graph takes images of 8 bits a channel and the image has more: use a graph "
            "with io float32 (--io float32)"
        )
    return np.ascontiguousarray(_rounded(planes).transpose(0, 2, 3, 1).astype(np.uint8))


def to_planes(image: NDArray[np.uint8]) -> Array:
    """Uint8 NHWC → float32 NCHW in [0, 1]."""
    return np.divide(np.ascontiguousarray(image.transpose(0, 3, 1, 2)), _LARGEST, dtype=np.float32)


def inputs(feeds: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs of a graph of bytes from float images; raises `ParameterError` as `to_bytes`.

    What is no image, latents above all, stays as it is.
    """
    return {name: to_bytes(x) if name in IMAGES else x for name, x in feeds.items()}


def run(runner: Runner, feeds: Mapping[str, Any]) -> dict[str, Array]:
    """Run a graph of bytes on float images; its outputs as floats, `health` among them."""
    outputs = runner(inputs(feeds))
    return {name: to_planes(x) if name in IMAGES else x for name, x in outputs.items()}


def shape(name: str, planes: tuple[int, ...]) -> tuple[int, ...]:
    """Shape at the boundary of an input or output that has this shape as float32 NCHW."""
    if name not in IMAGES:
        return planes
    n, channels, height, width = planes
    return n, height, width, channels


def _rounded(planes: Array) -> Array:
    """× 255, to the nearest of 0 to 255; NaN becomes 0, which no pixel that is NaN equals."""
    scaled: Array = np.rint(np.clip(np.nan_to_num(planes), 0, 1) * _LARGEST)
    return scaled
