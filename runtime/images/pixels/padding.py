"""What lies beyond an image's edge: up to a multiple of the scale, and the border around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ParameterError
from runtime.system.arguments import shown, whole


def pad(planes: NDArray[np.float32], multiple: int) -> NDArray[np.float32]:
    """Pad [C, H, W] at the bottom and right until both sides are multiples.

    By reflection as `numpy.pad` defines it (the border pixel is not repeated); a side of one pixel
    repeats it.
    """
    for axis in (1, 2):
        size = planes.shape[axis]
        widths = [(0, 0)] * 3
        widths[axis] = (0, -size % multiple)
        if widths[axis][1]:
            planes = np.pad(planes, widths, mode="edge" if size == 1 else "reflect")
    return planes


def source_indices(size: int, multiple: int = 1, border: int = 0) -> NDArray[np.intp]:
    """For each pixel of a padded axis, the pixel of the image that stands there.

    The axis is padded at its end up to a multiple, as `pad` does it. Then the border mirrors the
    whole of it with its outermost pixel repeated, so that blocks of the scale mirror as blocks; a
    border longer than the axis goes back and forth.

    Args:
        size: pixels of the axis, at least 1.
        multiple: its length is padded up to a multiple of this.
        border: pixels beyond it at both ends.

    Returns:
        Indices [border + padded size + border].
    """
    index = np.pad(np.arange(size), (0, -size % multiple), mode="edge" if size == 1 else "reflect")
    return np.pad(index, border, mode="symmetric") if border else index


def target_size(
    lr_height: int, lr_width: int, scale: int, wanted: tuple[int, int] | None
) -> tuple[int, int]:
    """The (height, width) to crop an upscaled image to.

    Args:
        lr_height: rows of the LR image.
        lr_width: its columns.
        scale: HR pixels an LR pixel.
        wanted: (height, width) of the image that was padded and downscaled; None is no crop.

    Raises:
        ParameterError: a wanted side is not from scale × the LR side − scale + 1 to scale × it.
    """
    full = scale * lr_height, scale * lr_width
    if wanted is None:
        return full
    try:
        height, width = wanted
    except Exception:  # what stands in for a pair may raise anything
        raise ParameterError(f"size is {shown(wanted)}: it must be (height, width)") from None
    height, width = whole("height", height, 1), whole("width", width, 1)
    if not (full[0] - scale < height <= full[0] and full[1] - scale < width <= full[1]):
        raise ParameterError(
            f"size {shown(width)}×{shown(height)} does not belong to a {lr_width}×{lr_height} "
            f"image at scale {scale}: width from {full[1] - scale + 1} to {full[1]}, "
            f"height from {full[0] - scale + 1} to {full[0]}"
        )
    return height, width
