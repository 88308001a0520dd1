"""An image's alpha while its colour goes through a network band by band."""

from __future__ import annotations

import numpy as np

from runtime.images import padding, pixels
from runtime.images.pixels import Planes

MARGIN = 3
"""Rows beyond a band that Pillow's bicubic filter looks at, and one more."""


class Veil:
    """Alpha rows as they are read, kept until the band that needs them is made.

    Args:
        height: of the image they are of.
    """

    def __init__(self, height: int) -> None:
        self._height = height
        self._start = 0
        self._rows: Planes | None = None

    def add(self, start: int, rows: Planes) -> None:
        """Take rows [start, start + len(rows)), which follow the last ones."""
        if self._rows is None:
            self._start, self._rows = start, rows
        else:
            self._rows = np.concatenate([self._rows, rows])

    def enlarged(self, top: int, rows: int, scale: int) -> Planes:
        """Rows [top, top + rows) of the plane enlarged by `scale`; `top` never falls."""
        first = top // scale
        last = min(-(-(top + rows) // scale) + MARGIN, self._height)
        part = self._part(max(first - MARGIN, 0), last)
        return pixels.enlarge_alpha(part, scale, top - self._start * scale, rows)

    def reduced(self, top: int, rows: int, scale: int) -> Planes:
        """Rows [top, top + rows) of the padded plane reduced by `scale`; `top` never falls."""
        # One row of blocks more above: what lies beyond the last row reflects up to there.
        first = max(top - 1, 0) * scale
        part = self._part(first, min((top + rows) * scale, self._height))
        padded = padding.pad(part[None], scale)[0]
        return pixels.reduce_alpha(padded, scale)[top - first // scale :][:rows]

    def _part(self, first: int, last: int) -> Planes:
        """Rows [first, last); what lies above is forgotten."""
        if self._rows is None:
            raise ValueError("no rows were added")
        self._rows = self._rows[first - self._start :]
        self._start = first
        return self._rows[: last - first]
