"""Where the input has no colour over a network's reach, the output has none: its luma remains.

A map with one weight an LR pixel says how much colour there is around it: the largest chroma within
`REACH`, averaged over ±`BLUR` pixels, so that colour ends softly. Integers throughout, so that
strips, tiles and languages agree. docs/pixels.md states every operation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runtime.images.pixels.arrays import Planes, luma

REACH = 6
"""LR pixels around coloured input, each way, in which networks colour their output."""

BLUR = 3
"""LR pixels each way over which the weight is averaged."""

MARGIN = REACH + BLUR + 1
"""LR rows of input above and below output rows that their colour depends on."""

FULL = 255 * (2 * BLUR + 1) ** 2
"""The weight of all colour; 0 is that of none."""

_NEUTRAL = np.float32(1)  # 8-bit steps between R, G and B that are no colour,
_COLOURED = np.float32(5)  # and that are colour; in between it counts in part
_ROWS = 32  # made neutral at a time, so that temporary arrays stay small

Weights = NDArray[np.int32]


class ColourMap:
    """How much colour each LR pixel of an image has around it; rows go in and out top to bottom.

    Args:
        height: LR rows of the image.
        first: the LR row whose input comes first.
        block: input pixels an LR pixel, each way.
    """

    def __init__(self, height: int, first: int, block: int) -> None:
        self._height, self._block = height, block
        self._start = first  # the row that `_kept` begins with
        self._kept: NDArray[np.uint8] | None = None
        self._pending: Planes | None = None  # rows of input that fill no block yet

    def add(self, colour: Planes, is_last: bool) -> None:
        """Take the next rows of input, RGB [3, n, W] in [0, 1]."""
        chroma = colour.max(axis=0) - colour.min(axis=0)
        rows = _block_max(chroma.T, self._block).T
        if self._pending is not None:
            rows = np.concatenate([self._pending, rows])
        whole = len(rows) if is_last else len(rows) // self._block * self._block
        self._pending = rows[whole:]
        counted = _counted(_block_max(rows[:whole], self._block))
        self._kept = counted if self._kept is None else np.concatenate([self._kept, counted])

    def weights(self, top: int, bottom: int) -> Weights:
        """The weights of LR rows [top, bottom), from 0 to `FULL`; `top` never falls.

        Input of rows [top − `REACH` − `BLUR`, bottom + `REACH` + `BLUR`) has to be there, as far as
        the image has them.
        """
        assert self._kept is not None
        first = max(top - REACH - BLUR, self._start)
        self._kept, self._start = self._kept[first - self._start :], first
        last = min(bottom + REACH + BLUR, self._height)
        largest = _dilated(_dilated(self._kept[: last - first]).T).T
        padded = np.pad(largest, BLUR, mode="edge")
        needed = padded[top - first : bottom - first + 2 * BLUR]
        return _summed(_summed(needed.astype(np.int32)).T).T


def enlarged(weights: Weights, first: int, top: int, rows: int, scale: int) -> Weights:
    """Weights of output pixels, linear between the centres of LR pixels; 4·scale²·`FULL` is all.

    Args:
        weights: of LR rows from `first` on, with one more than the output rows need on each side
            where the image has it.
        first: LR row.
        top: first output row.
        rows: of output.
        scale: output pixels an LR pixel.
    """
    down = _interpolated(weights, top - first * scale, rows, scale)
    return _interpolated(down.T, 0, weights.shape[1] * scale, scale).T


def pull(planes: Planes, weights: Weights, full: int) -> None:
    """Clip rows of output [3, n, W] to [0, 1] and mix them with their luma, in place.

    Where a weight is `full` the colours stay; where it is 0 all three are the luma.
    """
    for start in range(0, planes.shape[1], _ROWS):
        some, weight = planes[:, start : start + _ROWS], weights[start : start + _ROWS]
        if weight.min() == full:
            continue
        np.clip(some, 0, 1, out=some)
        gray = luma(some)
        keep = share(weight, full)
        some *= keep
        some += (np.float32(1) - keep) * gray


def share(weights: Weights, full: int) -> Planes:
    """Weights as parts of 1, float32."""
    part: Planes = weights.astype(np.float32) / np.float32(full)
    return part


def _block_max(values: Planes, block: int) -> Planes:
    """The largest of every `block` rows; the last block may have fewer."""
    largest = values[::block].copy()
    for offset in range(1, block):
        more = values[offset::block]
        np.maximum(largest[: len(more)], more, out=largest[: len(more)])
    return largest


def _counted(chroma: Planes) -> NDArray[np.uint8]:
    """Chroma in [0, 1] → how much it counts as colour, 0 to 255."""
    slope = np.float32(255) / (_COLOURED - _NEUTRAL)
    counted = (chroma * np.float32(255) - _NEUTRAL) * slope
    rounded: NDArray[np.uint8] = np.floor(np.clip(counted, 0, 255) + np.float32(0.5)).astype("u1")
    return rounded


def _dilated(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The largest value within `REACH` rows."""
    padded = np.pad(values, ((REACH, REACH), (0, 0)))
    largest = values.copy()
    for offset in range(2 * REACH + 1):
        np.maximum(largest, padded[offset : offset + len(values)], out=largest)
    return largest


def _summed(values: Weights) -> Weights:
    """The sum of every 2·`BLUR` + 1 rows."""
    count = len(values) - 2 * BLUR
    total = values[:count].copy()
    for offset in range(1, 2 * BLUR + 1):
        total += values[offset : offset + count]
    return total


def _interpolated(values: Weights, top: int, rows: int, scale: int) -> Weights:
    """Rows [top, top + rows) of `scale` times as many rows; 2·scale times the values."""
    position = 2 * np.arange(top, top + rows) + 1 - scale  # in 2·scale-ths of an LR row
    above, part = np.divmod(position, 2 * scale)
    last = len(values) - 1
    upper, lower = np.clip(above, 0, last), np.clip(above + 1, 0, last)
    weight = part.astype(np.int32)[:, None]
    mixed: Weights = values[upper] * (2 * scale - weight) + values[lower] * weight
    return mixed
