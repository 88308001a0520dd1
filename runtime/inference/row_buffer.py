"""Rows of an image, read on demand once from top to bottom, and kept while a window needs them."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from runtime.errors import ImageError
from runtime.images.pixels import padding
from runtime.images.pixels.arrays import Planes


class RowReader(Protocol):
    """An image whose rows are read on demand: in memory (`pixels.arrays.Picture`), or a file."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""

    def colour(self, start: int, stop: int) -> Planes:
        """Rows [start, stop) as RGB, float32 [3, stop − start, width] in [0, 1]."""


class RowBuffer:
    """Windows of rows that move down an image; a sequential decoder is enough behind them.

    The image is read in ranges that follow each other without gap or overlap. Rows and columns
    beyond it are those of `images.pixels.padding.source_indices`.

    Args:
        image: what is read.
        multiple: both sides are padded up to multiples of it.
        border: pixels around the image padded so.
    """

    def __init__(self, image: RowReader, multiple: int = 1, border: int = 0) -> None:
        self._image = image
        self._border = border
        self._columns = padding.source_indices(image.width, multiple, border)
        self._rows = padding.source_indices(image.height, multiple, border)
        # The bottom border mirrors rows above it: the first row that a window or a later one needs.
        self._oldest = np.minimum.accumulate(self._rows[::-1])[::-1]
        self._kept: Planes | None = None
        self._start = 0

    def window(self, start: int, stop: int) -> Planes:
        """Rows [start, stop), −border the first, with all columns; neither ever falls.

        Raises:
            ImageError: the reader gives another shape or dtype.
        """
        start, stop = start + self._border, stop + self._border
        wanted = self._rows[start:stop]
        first, last = int(wanted.min()), int(wanted.max()) + 1
        kept = self._advance(int(self._oldest[start]), last)
        if len(wanted) == last - first and (np.diff(wanted) == 1).all():
            return kept[:, first - self._start : last - self._start]
        return kept[:, wanted - self._start]

    def _advance(self, first: int, last: int) -> Planes:
        if self._kept is None:
            self._start = first
            self._kept = self._fetch(first, last)
            return self._kept
        end = self._start + self._kept.shape[1]
        kept = self._kept[:, min(first, end) - self._start :]
        if last > end:
            kept = np.concatenate([kept, self._fetch(end, last)], axis=1)
        self._start = min(first, end)
        self._kept = kept
        return kept

    def _fetch(self, start: int, stop: int) -> Planes:
        rows = self._image.colour(start, stop)
        expected = (3, stop - start, self._image.width)
        if rows.shape != expected or rows.dtype != np.float32:
            raise ImageError(
                f"rows {start} to {stop} came as {rows.dtype} {list(rows.shape)}: "
                f"they must be float32 {list(expected)}"
            )
        return rows if len(self._columns) == self._image.width else rows[:, :, self._columns]
