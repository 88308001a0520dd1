"""8-bit RGB images as arrays: their type, and crops of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""H×W×3 uint8 RGB."""


def crop_to_multiple(image: Pixels, scale: int) -> Pixels:
    """H×W×C cropped at the bottom and right so that both sides are multiples of `scale`."""
    height, width = image.shape[:2]
    return image[: height - height % scale, : width - width % scale]


def crop_centre(image: Pixels, side: int) -> Pixels:
    """The central `side`×`side` pixels of H×W×C; a shorter side stays whole."""
    y, x = (max(0, (length - side) // 2) for length in image.shape[:2])
    return image[y : y + side, x : x + side]
