"""PSNR of two images, and the bicubic resizing that the model is compared with.

"Bicubic" here is Pillow's (antialiased, a = −0.5): MATLAB's, of the published figures, treats
borders its own way, and the two differ by hundredths of a dB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from runtime.checks import parity
from runtime.errors import ImageError
from runtime.images.pixels import arrays
from runtime.images.pixels.arrays import Canvas

_ROWS = 512  # compared at a time, so that float copies of a large image never stand whole


def size_of(image: Any) -> tuple[int, int]:
    """Width and height of a Pillow image or an array [H, W, …]."""
    if isinstance(image, Image.Image):
        return image.size
    return image.shape[1], image.shape[0]


def psnr(first: Any, second: Any) -> float:
    """PSNR of two images' colour in dB, peak 1, over every pixel; infinite when identical.

    Args:
        first: Pillow image or array [H, W, C] (`arrays.split`); gray counts as three equal colours.
        second: of the same size.

    Raises:
        ImageError: the sizes differ.
    """
    width, height = size_of(first)
    if size_of(second) != (width, height):
        wide, high = size_of(second)
        raise ImageError(f"sizes {width}×{height} and {wide}×{high} cannot be compared")
    (one,), _ = arrays.split(first)
    (other,), _ = arrays.split(second)
    total = 0.0
    for top in range(0, height, _ROWS):
        bottom = min(top + _ROWS, height)
        error = one.colour(top, bottom) - other.colour(top, bottom)
        total += float(np.square(error, dtype=np.float64).sum())
    return parity.psnr_of(total / (3 * width * height))


def colour(image: Any) -> arrays.Planes:
    """An image's colour as planes [3, H, W] in [0, 1]."""
    (picture,), _ = arrays.split(image)
    return picture.colour(0, picture.height)


def bicubic(image: Any, width: int, height: int) -> Any:
    """The image resized by Pillow's bicubic filter, in the form it came in."""
    if isinstance(image, Image.Image):
        mode = arrays.result_mode(image)
        if mode in ("L", "LA", "RGB", "RGBA"):
            plain = image if image.mode == mode else image.convert(mode)
            return plain.resize((width, height), Resampling.BICUBIC)
    (picture,), layout = arrays.split(image)
    planes = [_resized(plane, width, height) for plane in picture.colour(0, picture.height)]
    alpha = picture.alpha()
    canvas = Canvas(layout, 1, height, width)
    canvas.paint(0, 0, np.stack(planes), None if alpha is None else _resized(alpha, width, height))
    return canvas.image()


def _resized(plane: arrays.Planes, width: int, height: int) -> arrays.Planes:
    resized = Image.fromarray(plane).resize((width, height), Resampling.BICUBIC)
    return np.asarray(resized, np.float32)
