"""An image's rows on their way through a network: colour goes ahead, alpha waits for its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.images.pixels import arrays, padding
from runtime.images.pixels.arrays import Picture, Planes

MARGIN = 3
"""Rows beyond a block that Pillow's bicubic filter looks at, and one more."""


class ImageRows:
    """Reads the colour of an image by rows and keeps its alpha until output rows need it.

    Args:
        read: gives rows [start, stop) as [rows, W, C]; each is asked for once, top to bottom.
        height: of the image.
        width: of the image.
        margin: rows of alpha that are also read above the first row of colour, where reading does
            not begin at the top.
    """

    def __init__(
        self, read: Callable[[int, int], NDArray[Any]], height: int, width: int, margin: int = 0
    ) -> None:
        self.height, self.width = height, width
        self._read, self._margin = read, margin
        self._has_begun = False
        self._alpha: Planes | None = None
        self._start = 0  # the row that `_alpha` begins with

    @classmethod
    def of(cls, picture: Picture) -> ImageRows:
        """The rows of an image in memory."""
        return cls(lambda start, stop: picture.pixels[start:stop], picture.height, picture.width)

    def colour(self, start: int, stop: int) -> Planes:
        """Rows [start, stop) as RGB, float32 [3, rows, W] in [0, 1]; they follow the last ones."""
        first = start if self._has_begun else max(start - self._margin, 0)
        self._has_begun = True
        rows = Picture(self._read(first, stop))
        alpha = rows.alpha()
        if alpha is not None and self._alpha is not None:
            self._alpha = np.concatenate([self._alpha, alpha])
        elif alpha is not None:
            self._start, self._alpha = first, alpha
        return rows.colour(start - first, stop - first)

    def upscaled_alpha(self, top: int, rows: int, scale: int) -> Planes | None:
        """Rows [top, top + rows) of alpha upscaled by `scale`, or None; `top` never falls."""
        first = top // scale
        last = min(-(-(top + rows) // scale) + MARGIN, self.height)
        part = self._part(max(first - MARGIN, 0), last)
        if part is None:
            return None
        return arrays.upscale_alpha(part, scale, top - self._start * scale, rows)

    def downscaled_alpha(self, top: int, rows: int, scale: int) -> Planes | None:
        """Rows [top, top + rows) of padded alpha downscaled, or None; `top` never falls."""
        # One row of blocks more above: what lies beyond the last row reflects up to there.
        first = max(top - 1, 0) * scale
        part = self._part(first, min((top + rows) * scale, self.height))
        if part is None:
            return None
        padded = padding.pad(part[None], scale)[0]
        return arrays.downscale_alpha(padded, scale)[top - first // scale :][:rows]

    def _part(self, first: int, last: int) -> Planes | None:
        """Rows [first, last) of alpha; what lies above is forgotten."""
        if self._alpha is None:
            return None
        self._alpha = self._alpha[first - self._start :]
        self._start = first
        return self._alpha[: last - first]
