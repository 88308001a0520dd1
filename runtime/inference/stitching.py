"""Tiles → rows of the image: windows computed in threads, cut to their cores, put together."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from runtime.inference.grid import Tile
from runtime.inference.plan import Plan
from runtime.inference.report import Fallback, Report
from runtime.inference.row_buffer import RowBuffer
from runtime.inference.tile_runner import Outputs
from runtime.latents import Array


class Work(NamedTuple):
    """How tiles are computed.

    compute: (tile, its window [1, 3, h, w]) → for each sample the outputs of the whole window, and
        the fallback it took. Called from many threads.
    factors: pixels an LR pixel, of each output.
    image: the output whose neighbours are compared.
    input_factor: pixels of the input an LR pixel.
    """

    compute: Callable[[Tile, Array], list[tuple[Outputs, Fallback | None]]]
    factors: Mapping[str, int]
    image: str
    input_factor: int


@dataclass(frozen=True)
class _Core:
    """A tile's outputs cut to its core [C, h, w], and what its window has beside it."""

    outputs: Outputs
    fallback: Fallback | None
    right: Array
    below: Array


def run(
    plan: Plan, rows: RowBuffer, work: Work, first_row: int, report: Report | None
) -> Iterator[tuple[int, list[Outputs]]]:
    """Compute all tiles; yield each row of tiles: its index and, for each sample, its outputs."""
    grid = plan.grid
    report = report if report is not None else Report()
    report.start(
        plan.precision,
        grid,
        plan.in_flight,
        certified=plan.certified,
        memory_short=plan.memory_short,
    )
    row: _TileRow | None = None
    for tile, cores in _computed(plan, rows, work, first_row, report):
        if row is None or row.index != tile.row:
            row = _TileRow(tile.row, grid.width, work, row.below if row else [])
        with report.timed("pixels"):
            row.place(tile, cores, report)
        if tile.column == grid.columns - 1:
            with report.timed("pixels"):  # whoever takes the rows finishes them
                yield tile.row, row.outputs
            row.outputs = []
    report.finish()


def _computed(
    plan: Plan, rows: RowBuffer, work: Work, first_row: int, report: Report
) -> Iterator[tuple[Tile, list[_Core]]]:
    """Every tile with its cores, in order; the next ones are computed meanwhile."""
    tiles = plan.grid.tiles(first_row)
    border = plan.grid.border * work.input_factor

    def prepared() -> Iterator[tuple[Tile, Array]]:
        for row, group in itertools.groupby(tiles, key=lambda tile: tile.row):
            y = plan.grid.row(row).window(work.input_factor)
            with report.timed("pixels"):
                strip = rows.window(y.start, y.stop)
            for tile in group:
                x = tile.x.window(work.input_factor)
                columns = strip[None, :, :, x.start + border : x.stop + border]
                yield tile, np.ascontiguousarray(columns)

    def compute(tile: Tile, window: Array) -> list[_Core]:
        return [_cut(tile, *computed, work) for computed in work.compute(tile, window)]

    if plan.grid.rows * plan.grid.columns == 1:  # a thread would cost more than it gives
        for tile, window in prepared():
            with report.timed("network"):
                cores = compute(tile, window)
            yield tile, cores
        return

    def awaited(future: Future[list[_Core]]) -> list[_Core]:
        with report.timed("network"):
            return future.result()

    with ThreadPoolExecutor(plan.in_flight, "hcflow-tile") as pool:
        waiting: deque[tuple[Tile, Future[list[_Core]]]] = deque()
        try:
            for tile, window in prepared():
                waiting.append((tile, pool.submit(compute, tile, window)))
                if len(waiting) > plan.in_flight:
                    first, future = waiting.popleft()
                    yield first, awaited(future)
            while waiting:
                first, future = waiting.popleft()
                yield first, awaited(future)
        finally:
            for _, future in waiting:
                future.cancel()


def _cut(tile: Tile, outputs: Outputs, fallback: Fallback | None, work: Work) -> _Core:
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
    return _Core(core, fallback, right, below)


class _TileRow:
    """A row of tiles being stitched; each core is compared with what its neighbours computed."""

    def __init__(self, index: int, width: int, work: Work, above: list[list[Array]]) -> None:
        self.index = index
        self.outputs: list[Outputs] = []
        self.below: list[list[Array]] = []
        self._width, self._work, self._above = width, work, above
        self._right: list[Array] = []

    def place(self, tile: Tile, cores: list[_Core], report: Report) -> None:
        """Put a tile's cores, one a sample, into the row."""
        if not self.outputs:
            self.outputs = [self._empty(core.outputs) for core in cores]
        self.below.append([core.below for core in cores])
        for number, core in enumerate(cores):
            report.count(core.fallback)
            for name, f in self._work.factors.items():
                self.outputs[number][name][:, :, tile.x.core(f)] = core.outputs[name]
            image = core.outputs[self._work.image]
            if self._right:
                _compare(self._right[number], image, report)
            if self._above:
                _compare(self._above[tile.column][number], image, report)
        self._right = [core.right for core in cores]

    def _empty(self, core: Outputs) -> Outputs:
        return {
            name: np.empty((*core[name].shape[:2], self._width * f), np.float32)
            for name, f in self._work.factors.items()
        }


def _compare(expected: Array, image: Array, report: Report) -> None:
    """Compare what a neighbour computed beyond its core with the core that begins there."""
    if expected.size:
        found = image[:, : expected.shape[1], : expected.shape[2]]
        off = np.abs(np.clip(expected, 0, 1) - np.clip(found, 0, 1))
        report.compare(float(off.max()))
