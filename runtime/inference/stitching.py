"""Tiles → bands: windows computed in threads, cut, put together, and held against each other."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from runtime.inference.fallback import Outputs
from runtime.inference.grid import Span, Tile
from runtime.inference.plan import Plan
from runtime.inference.report import Healed, Report
from runtime.inference.row_buffer import RowBuffer

Array = NDArray[np.float32]


class Work(NamedTuple):
    """How tiles are computed.

    compute: (tile, its window [1, 3, h, w]) → for each draw the outputs of the whole window and how
        they were healed. Called from many threads.
    factors: pixels an LR pixel, of each output.
    image: the output whose neighbours are compared.
    input_factor: pixels of the input an LR pixel.
    """

    compute: Callable[[Tile, Array], list[tuple[Outputs, Healed | None]]]
    factors: Mapping[str, int]
    image: str
    input_factor: int


@dataclass(frozen=True)
class _Draw:
    """A tile's outputs cut to its core [C, h, w], and what its window says of the neighbours'."""

    core: Outputs
    healed: Healed | None
    right: Array
    below: Array


def run(
    plan: Plan, rows: RowBuffer, work: Work, first_row: int, report: Report | None
) -> Iterator[tuple[int, list[Outputs]]]:
    """Compute all tiles; yield each band's index and, for each draw, its outputs."""
    grid = plan.grid
    noted = report if report is not None else Report()
    noted.start(plan.precision, grid, plan.in_flight)
    band: _Assembly | None = None
    for tile, drawn in _computed(plan, rows, work, first_row):
        if band is None or band.row != tile.row:
            band = _Assembly(tile.row, tile.y, grid.width, work, band.below if band else [])
        band.place(tile, drawn, noted)
        if tile.column == grid.columns - 1:
            yield tile.row, band.outputs
            band.outputs = []
    noted.finish()


def _computed(
    plan: Plan, rows: RowBuffer, work: Work, first_row: int
) -> Iterator[tuple[Tile, list[_Draw]]]:
    """Every tile with its outputs, in order; those to come are computed meanwhile."""
    tiles = plan.grid.tiles(first_row)

    def prepared() -> Iterator[tuple[Tile, Array]]:
        for row, group in itertools.groupby(tiles, key=lambda tile: tile.row):
            y = plan.grid.row(row).window(work.input_factor)
            strip = rows.window(y.start, y.stop)
            for tile in group:
                columns = tile.x.window(work.input_factor)
                yield tile, np.ascontiguousarray(strip[None, :, :, columns])

    def compute(tile: Tile, window: Array) -> list[_Draw]:
        return [_cut(tile, outputs, healed, work) for outputs, healed in work.compute(tile, window)]

    if plan.grid.rows * plan.grid.columns == 1:  # a thread would cost more than it gives
        for tile, window in prepared():
            yield tile, compute(tile, window)
        return
    with ThreadPoolExecutor(plan.in_flight, "hcflow-tile") as pool:
        waiting: deque[tuple[Tile, Future[list[_Draw]]]] = deque()
        try:
            for tile, window in prepared():
                waiting.append((tile, pool.submit(compute, tile, window)))
                if len(waiting) > plan.in_flight:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


def _cut(tile: Tile, outputs: Outputs, healed: Healed | None, work: Work) -> _Draw:
    core = {}
    for name, f in work.factors.items():
        value = outputs[name][0, :, tile.y.core_in_window(f), tile.x.core_in_window(f)]
        core[name] = np.ascontiguousarray(value)
    f = work.factors[work.image]
    image = outputs[work.image][0]
    y, x = tile.y.core_in_window(f), tile.x.core_in_window(f)
    # One LR pixel beyond the core, where the next tile's core begins; empty without overlap.
    right = image[:, y, x.stop : x.stop + f].copy()
    below = image[:, y.stop : y.stop + f, x].copy()
    return _Draw(core, healed, right, below)


class _Assembly:
    """A band on its way: cores are put in place and held against what their neighbours expected."""

    def __init__(
        self, row: int, y: Span, width: int, work: Work, expected: Iterable[list[Array]]
    ) -> None:
        self.row = row
        self.outputs: list[Outputs] = []
        self.below: list[list[Array]] = []
        self._expected = list(expected)
        self._y, self._width, self._work = y, width, work
        self._right: list[Array] = []

    def place(self, tile: Tile, drawn: list[_Draw], report: Report) -> None:
        """Put a tile's core into the band."""
        if not self.outputs:
            self.outputs = [self._empty(draw.core) for draw in drawn]
        self.below.append([draw.below for draw in drawn])
        for number, draw in enumerate(drawn):
            report.note(draw.healed)
            for name, f in self._work.factors.items():
                self.outputs[number][name][:, :, tile.x.core(f)] = draw.core[name]
            image = draw.core[self._work.image]
            if self._right:
                _compare(self._right[number], image, report)
            if self._expected:
                _compare(self._expected[tile.column][number], image, report)
        self._right = [draw.right for draw in drawn]

    def _empty(self, core: Outputs) -> Outputs:
        return {
            name: np.empty((*core[name].shape[:2], self._width * f), np.float32)
            for name, f in self._work.factors.items()
        }


def _compare(expected: Array, image: Array, report: Report) -> None:
    """Hold what a neighbour saw beyond its core against the core that begins there."""
    if expected.size:
        found = image[:, : expected.shape[1], : expected.shape[2]]
        off = np.abs(np.clip(expected, 0, 1) - np.clip(found, 0, 1))
        report.compare(float(off.max()))
