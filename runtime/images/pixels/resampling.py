"""Images resized to exact pixels by Lanczos' filter, whole or by rows with the same bytes.

The filter weighs pixel values as they are stored (gamma-encoded, not linear light), as Pillow,
browsers and the training of the networks do. Alpha weighs the colour. Rows are computed in blocks
at fixed places of the result, each from the same source rows, so that strips cannot change a byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.images.pixels import arrays
from runtime.images.pixels.arrays import Canvas, Planes

_BLOCK = 64  # rows of the result computed at once
_REACH = 3  # source pixels, or pixels of a smaller result, that the filter reaches on each side

Read = Callable[[int, int], NDArray[Any]]
"""Gives rows [start, stop) of an image as [rows, W, C]; both only grow, and ranges overlap."""


def resize(image: Any, height: int, width: int) -> Any:
    """An image of another size, in the form it came in.

    Args:
        image: Pillow image or array, as `arrays.split` takes it.
        height: of the result, at least 1.
        width: likewise.

    Raises:
        ImageError: the image cannot be used.
    """
    pictures, layout = arrays.split(image)
    canvas = Canvas(layout, len(pictures), height, width)
    for index, picture in enumerate(pictures):
        pixels = picture.pixels

        def read(start: int, stop: int, pixels: NDArray[Any] = pixels) -> NDArray[Any]:
            return pixels[start:stop]

        size = picture.height, picture.width
        for top, rows in resized_rows(read, size, (height, width)):
            canvas.put(index, top, rows)
    return canvas.image()


def resized_rows(
    read: Read, size: tuple[int, int], target: tuple[int, int]
) -> Iterator[tuple[int, NDArray[Any]]]:
    """The rows of an image of another size, block by block from the top.

    Args:
        read: gives rows of the image: uint8, uint16, or floats in [0, 1].
        size: (height, width) of the image.
        target: (height, width) of the result.

    Yields:
        The first row of a block, and the block [rows, width, C] in the image's type.
    """
    height, width = target
    ratio = size[0] / height
    reach = _REACH * max(ratio, 1.0) + 1
    for top in range(0, height, _BLOCK):
        rows = min(_BLOCK, height - top)
        above, below = top * ratio, min((top + rows) * ratio, float(size[0]))
        first = max(math.floor(above - reach), 0)
        last = min(math.ceil(below + reach), size[0])
        yield top, _resized(read(first, last), (above - first, below - first), (rows, width))


def _resized(
    pixels: NDArray[Any], between: tuple[float, float], target: tuple[int, int]
) -> NDArray[Any]:
    """Rows between two places of a block of rows, resized to (rows, width)."""
    most = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    size = target[1], target[0]
    box = (0.0, between[0], float(pixels.shape[1]), between[1])

    def filtered(plane: Planes) -> Planes:
        resized = Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS, box)
        return np.asarray(resized, np.float32)

    planes = [np.ascontiguousarray(pixels[..., c], np.float32) for c in range(pixels.shape[2])]
    result = np.empty((*target, len(planes)), np.float32)
    opacity = planes[-1] if len(planes) in (2, 4) else None
    if opacity is None or (opacity == most).all():
        for c, plane in enumerate(planes):
            result[..., c] = filtered(plane)
    else:
        result[..., -1] = alpha = filtered(opacity)
        # Where nothing shows, colours are resized as they are: dividing would only enlarge noise.
        shows = alpha > (0.5 if most > 1 else 1e-6)
        divisor = np.where(shows, alpha, np.float32(1))
        for c, plane in enumerate(planes[:-1]):
            weighted = filtered(plane * opacity) / divisor
            result[..., c] = np.where(shows, weighted, filtered(plane))
    np.clip(result, 0, most, out=result)
    if most > 1:
        np.rint(result, out=result)
    resized: NDArray[Any] = result.astype(pixels.dtype)
    return resized
