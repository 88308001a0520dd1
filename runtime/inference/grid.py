"""The grid: an image as overlapping windows of one size, each cut to its core.

All coordinates are LR pixels, whatever the direction. Along an axis of length L with `tile` and
`overlap`: if L ≤ tile + 2·overlap there is one tile, core and window [0, L). Else there are
n = ⌈(L − 2·overlap) / tile⌉, the fewest that cover L; their windows have the least size that does,
w = ⌈(L + (n − 1)·2·overlap) / n⌉ ≤ tile + 2·overlap, and lie evenly: window k starts at
⌊k·(L − w) / (n − 1)⌋, its core begins `overlap` further on (core 0 at 0) and ends where the next
begins. Only these sizes matter, so memory, batch, threads and jobs cannot change a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.errors import ParameterError
from runtime.system.arguments import whole


@dataclass(frozen=True)
class Tiling:
    """How an image is to be tiled, in LR pixels; None is what the graph's manifest states.

    Attributes:
        tile: side of a tile without its overlap, at least 1.
        overlap: what is computed beyond a tile on each side, at least 0.

    Raises:
        ParameterError: a value that is no whole number, or below its least.
    """

    tile: int | None = None
    overlap: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("tile", 1), ("overlap", 0)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, whole(name, value, least))

    @property
    def is_default(self) -> bool:
        """Whether nothing is asked for but what the manifest states."""
        return self.tile is None and self.overlap is None


DEFAULT_TILING = Tiling()
"""The tiles that the manifest states."""


@dataclass(frozen=True)
class Span:
    """A tile along one axis: its core [start, stop) inside its window."""

    start: int
    stop: int
    window_start: int
    window_stop: int

    def window(self, factor: int) -> slice:
        """The window in an array with `factor` pixels an LR pixel."""
        return slice(self.window_start * factor, self.window_stop * factor)

    def core(self, factor: int) -> slice:
        """The core in an array with `factor` pixels an LR pixel."""
        return slice(self.start * factor, self.stop * factor)

    def core_in_window(self, factor: int) -> slice:
        """The core in an array that holds only the window."""
        return slice(
            (self.start - self.window_start) * factor, (self.stop - self.window_start) * factor
        )


@dataclass(frozen=True)
class Tile:
    """One tile: row and column in the grid, and its span along each axis."""

    row: int
    column: int
    y: Span
    x: Span


@dataclass(frozen=True)
class Grid:
    """The tiles of an image of height × width LR pixels, row-major.

    Attributes:
        height: LR rows of the image, at least 1.
        width: LR columns, at least 1.
        tile: a window is at most this plus the overlap on both sides; at least 1.
        overlap: least that a window has beyond its core on each side; at least 0.

    Raises:
        ParameterError: a value below its minimum.
    """

    height: int
    width: int
    tile: int
    overlap: int

    def __post_init__(self) -> None:
        for name, value, least in (
            ("height", self.height, 1),
            ("width", self.width, 1),
            ("tile", self.tile, 1),
            ("overlap", self.overlap, 0),
        ):
            if value < least:
                raise ParameterError(f"{name} is {value}: it must be {least} or more")

    @classmethod
    def whole(cls, height: int, width: int) -> Grid:
        """The grid of one tile, which is the whole image."""
        return cls(height, width, max(height, width), 0)

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return _count(self.height, self.tile, self.overlap)

    @property
    def columns(self) -> int:
        """Columns of tiles."""
        return _count(self.width, self.tile, self.overlap)

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of every window, each at most tile + 2·overlap."""
        return (
            _window(self.height, self.rows, self.overlap),
            _window(self.width, self.columns, self.overlap),
        )

    def row(self, index: int) -> Span:
        """The span of a row of tiles along y."""
        return _span(index, self.height, self.tile, self.overlap)

    def column(self, index: int) -> Span:
        """The span of a column of tiles along x."""
        return _span(index, self.width, self.tile, self.overlap)

    def tiles(self, first_row: int = 0) -> Iterator[Tile]:
        """All tiles from a row on, row-major."""
        for row in range(first_row, self.rows):
            y = self.row(row)
            for column in range(self.columns):
                yield Tile(row, column, y, self.column(column))


def _count(length: int, tile: int, overlap: int) -> int:
    return 1 if length <= tile + 2 * overlap else -(-(length - 2 * overlap) // tile)


def _window(length: int, count: int, overlap: int) -> int:
    return -(-(length + (count - 1) * 2 * overlap) // count)


def _span(index: int, length: int, tile: int, overlap: int) -> Span:
    count = _count(length, tile, overlap)
    if not 0 <= index < count:
        raise IndexError(f"no tile {index} along {length} pixels")
    window = _window(length, count, overlap)

    def start_of(k: int) -> int:
        return k * (length - window) // max(count - 1, 1)

    start = start_of(index)
    return Span(
        start + overlap if index else 0,
        start_of(index + 1) + overlap if index < count - 1 else length,
        start,
        start + window,
    )
