"""An image's rows on their way through a network: colour goes ahead, the rest waits for the output.

What the network sees has no hidden colours (`colour_spread`); what it makes of neutral input is
made neutral (`neutral`); alpha goes past it (`alpha_rows`). Rows are read further ahead than the
network asks for, since the end of a block depends on them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runtime.images.pixels import colour_spread, neutral
from runtime.images.pixels.alpha_rows import AlphaRows
from runtime.images.pixels.arrays import Picture, Planes
from runtime.images.pixels.neutral import ColourMap

Reader = Callable[[int, int], NDArray[Any]]


class ImageRows:
    """Gives a network the colour of an image by rows, and finishes the rows that it makes of them.

    Args:
        read: gives rows [start, stop) as [rows, W, C]; each is asked for once, top to bottom.
        height: of the image.
        width: of the image.
        direction: `inverse` upscales, `forward` downscales.
        scale: HR pixels an LR pixel.
        keeps_neutral: whether output is neutral where the input is.
    """

    def __init__(
        self,
        read: Reader,
        height: int,
        width: int,
        direction: Literal["forward", "inverse"],
        scale: int,
        *,
        keeps_neutral: bool = True,
    ) -> None:
        self.height, self.width = height, width
        self._read, self._scale, self._keeps_neutral = read, scale, keeps_neutral
        self._is_upscaled = direction == "inverse"
        self._block = 1 if self._is_upscaled else scale  # input pixels an LR pixel
        self._pieces: Iterator[tuple[Planes, Planes | None]] | None = None
        self._ahead: list[tuple[int, Planes]] = []  # (first row, rows) read ahead of `colour`
        self._end = 0  # the row after them
        self._is_gray = False
        self._alpha = AlphaRows(height, 0)
        self._colours = ColourMap(-(-height // self._block), 0, self._block)

    @classmethod
    def of(
        cls,
        picture: Picture,
        direction: Literal["forward", "inverse"],
        scale: int,
        *,
        keeps_neutral: bool = True,
    ) -> ImageRows:
        """The rows of an image in memory."""

        def read(start: int, stop: int) -> NDArray[Any]:
            return picture.pixels[start:stop]

        size = picture.height, picture.width
        return cls(read, *size, direction, scale, keeps_neutral=keeps_neutral)

    def colour(self, start: int, stop: int) -> Planes:
        """Rows [start, stop) as RGB, float32 [3, rows, W] in [0, 1]; they follow the last ones."""
        if self._pieces is None:
            self._begin(start)
        needed = min(stop + neutral.MARGIN * self._block, self.height)
        planes = np.empty((3, stop - start, self.width), np.float32)
        waiting, self._ahead = deque(self._ahead), []
        while waiting or self._end < needed:
            top, piece = waiting.popleft() if waiting else (self._end, self._next())
            bottom = top + piece.shape[1]
            rows = slice(max(top, start), min(bottom, stop))
            if rows.start < rows.stop:
                part = piece[:, rows.start - top : rows.stop - top]
                planes[:, rows.start - start : rows.stop - start] = part
            if bottom > stop:
                self._ahead.append((top, piece))
        return planes

    def finish(self, top: int, *blocks: Planes) -> Planes | None:
        """Take the colour that the network made up out of blocks of output rows, in place.

        Args:
            top: first output row of all blocks; never falls.
            blocks: RGB [3, rows, W] of as many results.

        Returns:
            The alpha of these rows [rows, W], or None.
        """
        rows = blocks[0].shape[1]
        if self._keeps_neutral and not self._is_gray:  # of gray only the luma is kept anyway
            weights, full = self._weights(top, rows)
            for planes in blocks:
                neutral.pull(planes, weights, full)
        alpha = self._alpha.upscaled if self._is_upscaled else self._alpha.downscaled
        return alpha(top, rows, self._scale)

    def deviation(
        self, top: int, deviation: Planes, luma_variance: Planes, luma_covariance: Planes
    ) -> Planes:
        """The deviation of samples once each is finished: root of the mean variance of R, G, B.

        Args:
            top: first output row, as for `finish`.
            deviation: of each channel over the samples as the network made them [3, rows, W].
            luma_variance: of their luma [rows, W].
            luma_covariance: of their luma with the sum of their channels.
        """
        variance = np.square(deviation).sum(axis=0)
        if self._keeps_neutral:
            keep = np.zeros((), np.float32)
            if not self._is_gray:
                keep = neutral.share(*self._weights(top, deviation.shape[1]))
            rest = np.float32(1) - keep
            # A finished channel is keep · channel + rest · luma.
            variance = (
                keep * keep * variance
                + 2 * keep * rest * luma_covariance
                + 3 * rest * rest * luma_variance
            )
        root: Planes = np.sqrt(np.maximum(variance, 0) / 3)
        return root

    def _begin(self, start: int) -> None:
        """Begin to read above `start`, as far as the first output row depends on it."""
        unit = math.lcm(colour_spread.BLOCK, self._block)
        above = max(start - neutral.MARGIN * self._block, 0)
        self._end = first = above // unit * unit

        def read(start: int, stop: int) -> NDArray[Any]:
            rows = self._read(start, stop)
            self._is_gray = Picture(rows).is_gray
            return rows

        self._pieces = colour_spread.rows(read, first, self.height, self.width)
        self._alpha = AlphaRows(self.height, first)
        self._colours = ColourMap(-(-self.height // self._block), first // self._block, self._block)

    def _next(self) -> Planes:
        """The next rows of colour; their alpha and chroma are noted."""
        assert self._pieces is not None
        colour, alpha = next(self._pieces)
        self._end += colour.shape[1]
        if alpha is not None:
            self._alpha.add(alpha)
        if self._keeps_neutral and not self._is_gray:
            self._colours.add(colour, is_last=self._end == self.height)
        return colour

    def _weights(self, top: int, rows: int) -> tuple[neutral.Weights, int]:
        """How much of their colour output rows keep, and the weight of all of it."""
        if not self._is_upscaled:
            return self._colours.weights(top, top + rows), neutral.FULL
        scale = self._scale
        first = max(top // scale - 1, 0)
        last = min(-(-(top + rows) // scale) + 1, self.height)
        weights, full = self._colours.weights(first, last), neutral.FULL * 4 * scale * scale
        if weights.min() == neutral.FULL:  # as of most photographs: enlarging takes a while
            return np.broadcast_to(np.int32(full), (rows, self.width * scale)), full
        return neutral.enlarged(weights, first, top, rows, scale), full
