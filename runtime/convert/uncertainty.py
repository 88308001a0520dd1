"""What the draws of a picture agree on: their mean, and a heat map of their deviation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.convert.image import Recalled
from runtime.images.files import Photo

SAMPLES = 8
"""Draws where none are asked for."""


@dataclass(frozen=True)
class Uncertain:
    """The mean picture, the heat map, and the deviations behind it: largest and mean, of 1."""

    mean: Photo
    heat: Photo
    largest: float
    average: float


def measure(small: Recalled, options: Mapping[str, Any]) -> Uncertain:
    """Draw a photograph many times.

    Args:
        small: the small image, with what it is enlarged by.
        options: of `Model.uncertainty`; its size is `small`'s.

    Raises:
        HcflowError: as `Model.uncertainty`.
    """
    mean, deviation = small.model.uncertainty(small.photo.image, **{**options, "size": small.size})
    largest = float(deviation.max())
    heat = Image.fromarray(heat_map(deviation, largest))
    average = float(deviation.mean(dtype=np.float64))
    return Uncertain(replace(small.photo, image=mean), Photo(heat), largest, average)


def heat_map(deviation: NDArray[np.float32], white: float) -> NDArray[np.uint8]:
    """Deviations [H, W] as the colours of a glowing body, uint8 [H, W, 3].

    Black is 0, then red and yellow at a third and two thirds of `white`, which is white.
    """
    colours = np.empty((*deviation.shape, 3), np.uint8)
    for row, values in enumerate(deviation):  # a row at a time: an image may be large
        glow = values[:, None] * np.float32(3 / white if white > 0 else 0)
        glow = np.clip(glow - np.arange(3, dtype=np.float32), 0, 1)
        colours[row] = np.rint(glow * 255)
    return colours
