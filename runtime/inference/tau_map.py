"""A map of τ: a gray mask stretched over the image, the share of τ at each place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.errors import ImageError, one_line
from runtime.latents import Array


@dataclass(frozen=True)
class TauMap:
    """The share of τ at each place; `mask` float32 [h, w] in [0, 1], of any size.

    Pixel centres of the mask are spread evenly over the image, and values between them are
    interpolated linearly: a place has one value at each level, in any window.
    """

    mask: Array

    @classmethod
    def of(cls, image: Image.Image, height: int, width: int) -> TauMap:
        """The map of a gray image for an image of height × width LR pixels.

        White (255, or 65535 for 16 bits) is τ and black 0. A mask larger than the image is first
        averaged down to its size.

        Raises:
            ImageError: the mask has colours, alpha or no pixels, or is not a Pillow image.
        """
        if not isinstance(image, Image.Image):  # as a file of 16-bit colour is read
            raise ImageError(
                f"a τ map cannot be a {type(image).__name__}: it must be a gray image without alpha"
            )
        try:
            image.load()
        except Exception as error:  # a lazy image: its file is damaged, or it was closed
            raise ImageError(f"Pillow cannot give the τ map's pixels: {one_line(error)}") from error
        if image.mode in ("1", "P"):
            image = image.convert("RGB" if image.mode == "P" else "L")
        if image.mode == "RGB" and 0 not in image.size:
            red, green, blue = (np.asarray(band) for band in image.split())
            if (red == green).all() and (red == blue).all():
                image = image.getchannel(0)
        if 0 in image.size or not (image.mode == "L" or image.mode.startswith("I;16")):
            raise ImageError(
                f"the τ map has mode {image.mode} and {image.width}×{image.height} pixels: "
                "it must be a gray image without alpha"
            )
        values = np.asarray(image)
        white = np.float32(np.iinfo(values.dtype).max)
        mask = values.astype(np.float32) / white
        rows, columns = min(image.height, height), min(image.width, width)
        if mask.shape != (rows, columns):
            averaged = Image.fromarray(mask).resize((columns, rows), Image.Resampling.BOX)
            mask = np.clip(np.asarray(averaged, np.float32), 0, 1)
        return cls(mask)

    def window(
        self, height: int, width: int, top: int, left: int, rows: int, columns: int
    ) -> Array:
        """The map's values in a window of a level of height × width: float32 [rows, columns]."""
        y0, y1, fy = _between(self.mask.shape[0], height, top, rows)
        x0, x1, fx = _between(self.mask.shape[1], width, left, columns)
        # a + f·(b − a) is exactly a where the mask is flat.
        upper = self.mask[y0]
        along = upper + fy[:, None] * (self.mask[y1] - upper)
        near = along[:, x0]
        values: Array = near + fx * (along[:, x1] - near)
        return values


def _between(
    cells: int, size: int, start: int, count: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """For `count` pixels of an axis: the two mask cells around each, and its place between them."""
    place = (np.arange(start, start + count) + 0.5) * (cells / size) - 0.5
    place = np.clip(place, 0, cells - 1)
    lower = np.floor(place).astype(np.intp)
    return lower, np.minimum(lower + 1, cells - 1), (place - lower).astype(np.float32)
