"""Colour spreads from visible into invisible pixels, so that a network sees no hidden colours.

A pyramid of 2×2 blocks over the plane, in which whatever lies outside the image is invisible; pixel
(x, y) of a level is the mean of pixels (2x, 2y) to (2x + 1, 2y + 1) of the level below, weighted by
alpha. From the coarsest level down, each pixel mixes its own colour with what the coarser level has
there, by how visible it is. So a pixel depends on those within `REACH` of its coarsest block alone,
wherever strips or tiles are cut. docs/pixels.md states every operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.images.pixels.arrays import Picture, Planes

LEVELS = 5
BLOCK = 1 << LEVELS
"""Side of a block of the coarsest level, in pixels: rows are spread in multiples of it."""

REACH = 2 * BLOCK
"""Pixels that colour comes from, each way beyond a block."""

_SIDE = 4 * REACH  # of the squares that are spread at a time, so that they stay in the cache
_FULL = np.float32(16)  # a pixel of alpha 1/16 is visible enough to keep its colour
_TINY = np.float32(1e-12)  # in place of 0 as a divisor; below any alpha of 16 bits
_FAR = np.float32(0.5)  # the colour beyond the reach of any visible pixel

_Level = tuple[Planes, Planes, Planes]  # alpha · colour [3, h, w], alpha, saturating sum of alpha


def spread(colour: Planes, alpha: Planes) -> Planes:
    """The colours [3, h, w] of a picture whose sides are multiples of `BLOCK`.

    The picture begins at multiples of `BLOCK` of the plane; its outermost `REACH` pixels on each
    side come out wrong unless what lies beyond them is invisible.

    Args:
        colour: in [0, 1].
        alpha: [h, w] in [0, 1].
    """
    levels: list[_Level] = [(colour * alpha, alpha, np.minimum(alpha * _FULL, 1))]
    for _ in range(LEVELS):
        weighted, mean, seen = levels[-1]
        quarter = np.float32(0.25)
        levels.append(
            (_sums(weighted) * quarter, _sums(mean) * quarter, np.minimum(_sums(seen), 1))
        )
    weighted, mean, seen = levels.pop()
    own = _quotient(weighted, mean)
    # An invisible block has the colours of the eight around it, so that gray begins a block away.
    around = _sums_of_nine(seen)
    beside = _mix(np.minimum(around, 1), _quotient(_sums_of_nine(seen * own), around), _FAR)
    result = _mix(seen, own, beside)
    while levels:
        coarse = np.maximum(_enlarged(mean), _TINY)
        weighted, mean, seen = levels.pop()
        # Nothing below a quarter of the alpha around it counts; all does from three quarters on.
        relative = (mean * np.float32(2) - coarse * np.float32(0.5)) / coarse
        own = colour if not levels else _quotient(weighted, mean)
        keep = np.clip(np.minimum(relative, seen), 0, 1)
        result = _mix(keep, own, _enlarged(result))
    return result


def rows(
    read: Callable[[int, int], NDArray[Any]], first: int, height: int, width: int
) -> Iterator[tuple[Planes, Planes | None]]:
    """Rows of an image from `first` on, some at a time: colour after the spread, and alpha.

    Args:
        read: gives rows [start, stop) as [rows, W, C]; each is asked for once, top to bottom.
        first: a multiple of `BLOCK`.
        height: of the image.
        width: of the image.

    Yields:
        RGB [3, n, W] in [0, 1] and alpha [n, W]; None where the image has none.
    """
    kept_from = end = max(first - REACH, 0)
    kept: NDArray[Any] | None = None
    for top in range(first, height, _SIDE):
        bottom = min(top + _SIDE, height)
        wanted = min(bottom + REACH, height)
        if wanted > end:
            new = read(end, wanted)
            end = wanted
            kept = new if kept is None else np.concatenate([kept[top - REACH - kept_from :], new])
            kept_from = end - len(kept)
        assert kept is not None
        strip = Picture(kept)
        yield _spread_rows(strip, top - kept_from, bottom - kept_from)


def _spread_rows(strip: Picture, top: int, bottom: int) -> tuple[Planes, Planes | None]:
    """Rows [top, bottom) of a strip that has what is needed above and below them."""
    here = Picture(strip.pixels[top:bottom])
    colour, alpha = here.colour(0, here.height), here.alpha()
    if alpha is not None:
        for left in range(0, here.width, _SIDE):
            columns = slice(left, min(left + _SIDE, here.width))
            if alpha[:, columns].min() < 1:
                colour[:, :, columns] = _spread_square(strip, top, bottom, columns)
    return colour, alpha


def _spread_square(strip: Picture, top: int, bottom: int, columns: slice) -> Planes:
    rows, wide = bottom - top, columns.stop - columns.start
    shape = tuple(-(-side // BLOCK) * BLOCK + 2 * REACH for side in (rows, wide))
    colour = np.zeros((3, *shape), np.float32)
    alpha = np.zeros(shape, np.float32)
    y, x = max(top - REACH, 0), max(columns.start - REACH, 0)
    part = Picture(strip.pixels[y : bottom + REACH, x : columns.stop + REACH])
    inside = (
        slice(y - top + REACH, y - top + REACH + part.height),
        slice(x - columns.start + REACH, x - columns.start + REACH + part.width),
    )
    colour[(slice(None), *inside)] = part.colour(0, part.height)
    alpha[inside] = part.alpha()
    return spread(colour, alpha)[:, REACH : REACH + rows, REACH : REACH + wide]


def _sums(planes: Planes) -> Planes:
    """The sum of every 2×2 block of the last two axes."""
    across: Planes = planes[..., 0::2] + planes[..., 1::2]
    return across[..., 0::2, :] + across[..., 1::2, :]


def _sums_of_nine(planes: Planes) -> Planes:
    """The sum of every pixel and the eight around it; 0 lies beyond."""
    *_, height, width = planes.shape
    padded = np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [(1, 1), (1, 1)])
    rows = padded[..., :height, :] + padded[..., 1:-1, :] + padded[..., 2:, :]
    sums: Planes = rows[..., :width] + rows[..., 1:-1] + rows[..., 2:]
    return sums


def _quotient(weighted: Planes, mean: Planes) -> Planes:
    """The mean colour of visible pixels; 0 where there are none."""
    return np.divide(weighted, np.maximum(mean, _TINY), dtype=np.float32)


def _mix(keep: Planes, own: Planes, other: Planes | np.float32) -> Planes:
    mixed: Planes = keep * own + (np.float32(1) - keep) * other
    return mixed


def _enlarged(planes: Planes) -> Planes:
    """Twice the size, linear between the centres of pixels; the outermost pixels go on."""
    return _doubled(_doubled(planes).swapaxes(-1, -2)).swapaxes(-1, -2)


def _doubled(planes: Planes) -> Planes:
    """Twice the rows."""
    far: Planes = planes * np.float32(0.25)
    near: Planes = planes * np.float32(0.75)
    *more, height, width = planes.shape
    result: Planes = np.empty((*more, height, 2, width), np.float32)
    np.add(near[..., 1:, :], far[..., :-1, :], out=result[..., 1:, 0, :])
    np.add(near[..., :-1, :], far[..., 1:, :], out=result[..., :-1, 1, :])
    result[..., 0, 0, :] = planes[..., 0, :]
    result[..., -1, 1, :] = planes[..., -1, :]
    return result.reshape(*more, 2 * height, width)
