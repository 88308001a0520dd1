"""The grid: an image as overlapping windows of one size, each cut to its core.

All coordinates are LR pixels of the image, whatever the direction. An image of length L is padded
by `border` at both ends: M = L + 2·border. With `tile` and `overlap`: if M ≤ tile + 2·overlap
there is one tile, its core [0, L) and its window [−border, L + border). Else
n = ⌈(M − 2·overlap) / tile⌉ windows, the fewest that cover M, have the least size that does,
w = ⌈(M + (n − 1)·2·overlap) / n⌉ ≤ tile + 2·overlap, and lie evenly: window k starts at
⌊k·(M − w) / (n − 1)⌋ − border, its core begins `overlap` further on (the first at 0) and ends where
the next begins (the last at L). A window whose core would be padding alone is left out. Only these
sizes matter, so memory, batch, threads and jobs cannot change a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from runtime.errors import ParameterError
from runtime.system.arguments import whole


@dataclass(frozen=True)
class Tiling:
    """How an image is to be tiled, in LR pixels; None is what the graph's manifest states.

    Attributes:
        tile: side of a tile without its overlap, at least 1.
        overlap: what is computed beyond a tile on each side, at least 0.
        border: what the image is padded by on each side, at least 0; 0 for latents that are given
            or asked for, which are those of the image alone.

    Raises:
        ParameterError: a value that is no whole number, or below its least.
    """

    tile: int | None = None
    overlap: int | None = None
    border: int | None = None

    def __post_init__(self) -> None:
        for name, least in (("tile", 1), ("overlap", 0), ("border", 0)):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, whole(name, value, least))

    @property
    def is_default(self) -> bool:
        """Whether no other tiles are asked for than the manifest states."""
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
        """The window in an array with `factor` pixels an LR pixel; it may begin below 0."""
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
        border: what the image is padded by on each side; at least 0.

    Raises:
        ParameterError: a value below its minimum.
    """

    height: int
    width: int
    tile: int
    overlap: int
    border: int = 0

    def __post_init__(self) -> None:
        for name, value, least in (
            ("height", self.height, 1),
            ("width", self.width, 1),
            ("tile", self.tile, 1),
            ("overlap", self.overlap, 0),
            ("border", self.border, 0),
        ):
            if value < least:
                raise ParameterError(f"{name} is {value}: it must be {least} or more")

    @classmethod
    def whole(cls, height: int, width: int, border: int = 0) -> Grid:
        """The grid of one tile, which is the whole image."""
        return cls(height, width, max(height, width) + 2 * border, 0, border)

    @property
    def rows(self) -> int:
        """Rows of tiles."""
        return len(self._y.used)

    @property
    def columns(self) -> int:
        """Columns of tiles."""
        return len(self._x.used)

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of every window, each at most tile + 2·overlap."""
        return self._y.window, self._x.window

    def row(self, index: int) -> Span:
        """The span of a row of tiles along y."""
        return self._y.span(index)

    def column(self, index: int) -> Span:
        """The span of a column of tiles along x."""
        return self._x.span(index)

    def tiles(self, first_row: int = 0) -> Iterator[Tile]:
        """All tiles from a row on, row-major."""
        for row in range(first_row, self.rows):
            y = self.row(row)
            for column in range(self.columns):
                yield Tile(row, column, y, self.column(column))

    @cached_property
    def _y(self) -> _Axis:
        return _Axis(self.height, self.tile, self.overlap, self.border)

    @cached_property
    def _x(self) -> _Axis:
        return _Axis(self.width, self.tile, self.overlap, self.border)


@dataclass(frozen=True)
class _Axis:
    """The windows along one axis."""

    length: int
    tile: int
    overlap: int
    border: int

    @property
    def padded(self) -> int:
        """Length of the padded axis."""
        return self.length + 2 * self.border

    @property
    def count(self) -> int:
        """Windows that cover the padded axis."""
        inner = self.padded - 2 * self.overlap
        return 1 if inner <= self.tile else -(-inner // self.tile)

    @property
    def window(self) -> int:
        """Size of every window."""
        return -(-(self.padded + (self.count - 1) * 2 * self.overlap) // self.count)

    @cached_property
    def used(self) -> range:
        """The windows whose core is not padding alone."""
        first, last = 0, self.count - 1
        while first < last and self._start(first + 1) + self.overlap <= 0:
            first += 1
        while last > first and self._start(last) + self.overlap >= self.length:
            last -= 1
        return range(first, last + 1)

    def span(self, index: int) -> Span:
        """The span of one of the windows used."""
        if not 0 <= index < len(self.used):
            raise IndexError(f"no tile {index} along {self.length} pixels")
        start = self._start(self.used[index])
        follows = index < len(self.used) - 1
        return Span(
            start + self.overlap if index else 0,
            self._start(self.used[index] + 1) + self.overlap if follows else self.length,
            start,
            start + self.window,
        )

    def _start(self, k: int) -> int:
        return k * (self.padded - self.window) // max(self.count - 1, 1) - self.border
