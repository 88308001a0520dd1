"""A graph over an image on a grid, without a bundle: what tile grids are measured with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.checks.tile_pictures import Array
from runtime.bundle.manifest import Graph, Level
from runtime.checks.tile_error import Runner
from runtime.inference import stitching
from runtime.inference.grid import Grid, Tile
from runtime.inference.latent_source import LatentSource, Sampling
from runtime.inference.plan import Plan
from runtime.inference.report import Certified, Fallback, Report
from runtime.inference.row_buffer import RowBuffer
from runtime.inference.tile_runner import Outputs


@dataclass(frozen=True)
class Measured:
    """A graph that pictures are run through.

    Attributes:
        run: runs the graph.
        graph: its entry in the manifest.
        levels: of the latents.
        scale: HR pixels an LR pixel.
    """

    run: Runner
    graph: Graph
    levels: tuple[Level, ...]
    scale: int

    @property
    def factor(self) -> int:
        """Pixels of the input an LR pixel."""
        return 1 if self.graph.direction == "inverse" else self.scale

    def lr_size(self, picture: Array) -> tuple[int, int]:
        """Height and width in LR pixels of an input [3, H, W]."""
        return picture.shape[1] // self.factor, picture.shape[2] // self.factor


@dataclass(frozen=True)
class _Rows:
    """A picture in memory as rows that are read."""

    planes: Array

    @property
    def height(self) -> int:
        return len(self.planes[0])

    @property
    def width(self) -> int:
        return len(self.planes[0, 0])

    def colour(self, start: int, stop: int) -> Array:
        return self.planes[:, start:stop]


def run_on_grid(
    measured: Measured, picture: Array, tau: float, grid: Grid
) -> tuple[Array, float | None]:
    """The image of a picture, and the largest difference between neighbouring tiles.

    Args:
        measured: the graph.
        picture: its input [3, H, W] in [0, 1]; both sides fit `grid`.
        tau: of the latents of an inverse graph, drawn by the manifest's scheme with seed 0.
        grid: of the picture; `Grid.whole` runs it untiled.

    Returns:
        The image [3, …], clipped to [0, 1]; and the difference, None for one tile.
    """
    graph = measured.graph
    inverse = graph.direction == "inverse"
    name, output = ("lr", "hr") if inverse else ("hr", "lr")
    source = LatentSource(Sampling(tau), measured.levels, grid.height, grid.width)

    def compute(tile: Tile, window: Array) -> list[tuple[Outputs, Fallback | None]]:
        feeds = {name: window}
        if inverse and graph.latents:
            feeds |= _latents(measured.levels, source, tile)
        return [({output: measured.run(feeds)[output]}, None)]

    factors = {output: measured.scale if inverse else 1}
    work = stitching.Work(compute, factors, output, measured.factor)
    unjudged = Certified(disagreement=math.inf)  # nothing is known yet that could be warned of
    plan = Plan(graph.direction, graph.precision, measured.scale, grid, 1, unjudged)
    report = Report()
    rows = RowBuffer(_Rows(picture), 1, grid.border * measured.factor)
    blocks = [outputs[0][output] for _, outputs in stitching.run(plan, rows, work, 0, report)]
    return np.concatenate(blocks, axis=1).clip(0, 1), report.disagreement


def _latents(levels: Sequence[Level], source: LatentSource, tile: Tile) -> Outputs:
    drawn = source.window(tile, 0)
    height, width = (span.window_stop - span.window_start for span in (tile.y, tile.x))
    if drawn is None:
        zeros = (np.zeros((z.channels, height * z.factor, width * z.factor)) for z in levels)
        return {f"z{n}": z[None].astype(np.float32) for n, z in enumerate(zeros, start=1)}
    values = (z if isinstance(z, np.ndarray) else z.values() for z in drawn)
    return {f"z{number}": value for number, value in enumerate(values, start=1)}
