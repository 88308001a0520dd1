"""Rows of an image, read on demand once from top to bottom, and kept while a window needs them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ImageError
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
    beyond it reflect it as `images.pixels.padding.pad` does.

    Args:
        image: what is read.
        multiple: both sides are padded up to multiples of it.
    """

    def __init__(self, image: RowReader, multiple: int = 1) -> None:
        self._image = image
        self._columns = _reflected(image.width, multiple)
        self._rows = _reflected(image.height, multiple)
        self._kept: Planes | None = None
        self._start = 0

    def window(self, start: int, stop: int) -> Planes:
        """Rows [start, stop) of the padded image; `start` and `stop` never fall.

        Raises:
            ImageError: the reader gives another shape or dtype.
        """
        wanted = self._rows[start:stop]
        first, last = int(wanted.min()), int(wanted.max()) + 1
        kept = self._advance(first, last)
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


def _reflected(size: int, multiple: int) -> NDArray[np.intp]:
    """For each pixel of a padded axis, the pixel of the image that it repeats."""
    index = np.arange(size)
    extra = -size % multiple
    return np.pad(index, (0, extra), mode="edge" if size == 1 else "reflect")
