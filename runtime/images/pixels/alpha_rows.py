"""Alpha on its way past a network: kept until the output rows it belongs to are finished."""

from __future__ import annotations

import numpy as np

from runtime.images.pixels import arrays, padding
from runtime.images.pixels.arrays import Planes

_MARGIN = 3
"""Rows beyond a block that Pillow's bicubic filter looks at, and one more."""


class AlphaRows:
    """The alpha of an image by rows; they are added and taken top to bottom.

    Args:
        height: rows of the image.
        first: the row that is added first.
    """

    def __init__(self, height: int, first: int) -> None:
        self._height = height
        self._start = first  # the row that `_kept` begins with
        self._kept: Planes | None = None

    def add(self, alpha: Planes) -> None:
        """Take the next rows [n, W]."""
        self._kept = alpha if self._kept is None else np.concatenate([self._kept, alpha])

    def upscaled(self, top: int, rows: int, scale: int) -> Planes | None:
        """Rows [top, top + rows) of alpha upscaled by `scale`, or None; `top` never falls."""
        first = top // scale
        last = min(-(-(top + rows) // scale) + _MARGIN, self._height)
        part = self._part(max(first - _MARGIN, 0), last)
        if part is None:
            return None
        return arrays.upscale_alpha(part, scale, top - self._start * scale, rows)

    def downscaled(self, top: int, rows: int, scale: int) -> Planes | None:
        """Rows [top, top + rows) of padded alpha downscaled, or None; `top` never falls."""
        # One row of blocks more above: what lies beyond the last row reflects up to there.
        first = max(top - 1, 0) * scale
        part = self._part(first, min((top + rows) * scale, self._height))
        if part is None:
            return None
        padded = padding.pad(part[None], scale)[0]
        return arrays.downscale_alpha(padded, scale)[top - first // scale :][:rows]

    def _part(self, first: int, last: int) -> Planes | None:
        """Rows [first, last) of alpha; what lies above is forgotten."""
        if self._kept is None:
            return None
        self._kept = self._kept[first - self._start :]
        self._start = first
        return self._kept[: last - first]
