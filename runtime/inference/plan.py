"""How an image will be computed: the grid of its tiles, and how many are in flight at once.

The grid is the user's, or the one that the graph was certified for, or the whole image; on a GPU
another recorded one where it is predicted faster (`runtime.inference.auto.gpu_grid`). Free memory
decides how many windows are computed at the same time, which changes no byte. Only when not even
one fits is a smaller recorded grid taken, with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from runtime.bundle.manifest import Direction, Graph, Precision
from runtime.errors import GpuMemoryError, ParameterError
from runtime.inference import memory
from runtime.inference.auto import cpu_precision
from runtime.inference.grid import DEFAULT_TILING, Grid, Tiling
from runtime.inference.network import Network
from runtime.inference.report import Certified
from runtime.system import machine
from runtime.system.arguments import shown, whole

SMALLEST_TILE = 16
"""LR pixels: below this the overlap costs more than the picture. Tiles of manifests that record one
grid alone are halved down to it."""

_CPUS_A_WINDOW = 4  # one window keeps about this many processors busy

_GPU_WINDOWS = 3  # one computes, one crosses the bus, one is prepared or put together on the host

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """How an image will be computed.

    Attributes:
        direction: which way.
        precision: of the graph that computes it.
        scale: HR pixels an LR pixel.
        grid: of tiles, in LR pixels.
        in_flight: windows computed at the same time.
        certified: what the build measured of the graph's grid.
        memory_short: whether the tile is smaller than asked for, or than the graph's own.
    """

    direction: Direction
    precision: Precision
    scale: int
    grid: Grid
    in_flight: int
    certified: Certified = field(default_factory=Certified)
    memory_short: bool = False

    def block_top(self, index: int) -> int:
        """First output row of what a row of tiles gives."""
        return self.grid.row(index).start * (self.scale if self.direction == "inverse" else 1)


def windows_at_once() -> int:
    """Windows that keep this process's processors busy, at least 1."""
    return max(1, machine.usable_cpus() // _CPUS_A_WINDOW)


def plan_for(
    network: Network,
    direction: Direction,
    height: int,
    width: int,
    *,
    latents: bool | None = None,
    tiling: Tiling = DEFAULT_TILING,
    in_flight: int | None = None,
    samples: int = 1,
) -> Plan:
    """Decide how to compute an image.

    Args:
        network: what will compute it.
        direction: `inverse` upscales, `forward` downscales.
        height: rows of the image that goes in: LR for `inverse`, HR of any size for `forward`.
        width: its columns.
        latents: whether the graph is to take (or give) latents; None is either.
        tiling: the user's; where the manifest states no tiles either, the image is one tile. Its
            border is 0 for latents that are given, or that the forward graph is asked for.
        in_flight: most windows at the same time; None goes by processors and free memory.
        samples: images held at the same time.

    Raises:
        ParameterError: a tile or overlap that makes no sense.
        ImageError: too little memory, even for a small tile.
        GpuMemoryError: likewise on the GPU.
        BundleError: no such graph.
        BackendError: a GPU's backend does not open the graph.
    """
    scale = network.manifest.scale
    if direction == "forward":
        height, width = -(-height // scale), -(-width // scale)
    graph = graph_for(network, direction, height, width, latents=latents, tiling=tiling)
    grid = _grid(graph, height, width, tiling)
    if tiling.is_default and len(graph.recorded_grids) > 1 and network.is_on_gpu(graph):
        grid = _in_cache(network, graph, grid)
    in_flight = None if in_flight is None else whole("in_flight", in_flight, 1)
    most = in_flight or _windows_at_once(network, graph)
    grids: Sequence[Grid] = [grid, *_smaller_grids(graph, grid, tiling)]
    have = machine.available_memory()
    if have is not None:
        have += network.held(graph)
        pixels = samples * 12 * (scale**2 if direction == "inverse" else 1)

        def need(grid: Grid, in_flight: int) -> int:
            rows, columns = grid.window
            blocks = 2 * pixels * rows * grid.width
            return in_flight * memory.needed(graph, rows * columns) + blocks * (grid.rows > 1)

        grids = _fitting(grids, lambda grid: need(grid, 1), have)
    fitting = _reserved(network, graph, grids, samples)
    short = fitting != grid
    if short:
        _logger.warning(
            "memory is short: tiles of %d low-resolution pixels in place of %d; the picture "
            "may differ by up to %.2g/255 from what more memory gives",
            fitting.tile,
            grid.tile,
            255 * Certified.of(graph).disagreement,
        )
    grid = fitting
    if have is not None:
        while most > 1 and need(grid, most) > have // 2:
            most -= 1
    in_flight = min(most, grid.rows * grid.columns)
    return Plan(
        direction, graph.precision, scale, grid, in_flight, Certified.of(graph), memory_short=short
    )


def graph_for(
    network: Network,
    direction: Direction,
    lr_height: int,
    lr_width: int,
    *,
    latents: bool | None = None,
    tiling: Tiling = DEFAULT_TILING,
) -> Graph:
    """The graph of a network that computes an image in the least time.

    It follows from the image's size and the kind of processor, so that the same image always gives
    the same bytes on one machine.

    Args:
        network: of one precision, or of several to choose from (`cpu_precision.cheapest`).
        direction: which way.
        lr_height: LR rows, whatever the direction.
        lr_width: LR columns.
        latents: as for `plan_for`.
        tiling: likewise.

    Raises:
        ParameterError, BundleError: as `plan_for`.
    """
    precisions = network.precisions_of(direction, latents)
    graphs = {p: network.graph(direction, latents, p) for p in precisions}
    if len(graphs) > 1:
        grids = {p: _grid(g, lr_height, lr_width, tiling) for p, g in graphs.items()}
        cost = cpu_precision.int8_cost(machine.cpu_flags())
        return graphs[cpu_precision.cheapest(grids, 1.0 if cost is None else cost)]
    return graphs[precisions[0]]


def _grid(graph: Graph, height: int, width: int, tiling: Tiling) -> Grid:
    border = graph.border if tiling.border is None else tiling.border
    if tiling.is_default and (graph.tile is None or graph.overlap is None):
        return Grid.whole(height, width, border)
    tile = graph.tile if tiling.tile is None else tiling.tile
    overlap = graph.overlap if tiling.overlap is None else tiling.overlap
    if tile is None or overlap is None:
        missing = "tile" if tile is None else "overlap"
        raise ParameterError(f"'{graph.file}' states no tiles of its own: give {missing} as well")
    if tiling.overlap is not None and overlap > tile:
        raise ParameterError(
            f"overlap {shown(overlap)} is larger than tile {tile}: every pixel would be computed "
            "more than nine times; give a tile of at least the overlap"
        )
    return Grid(height, width, tile, overlap, border)


def _in_cache(network: Network, graph: Graph, grid: Grid) -> Grid:
    """The recorded grid that is predicted fastest on the GPU: it follows from GPU and engine."""
    found = network.program(graph)
    if found is None:
        return grid
    from runtime.inference.auto import gpu_grid  # noqa: PLC0415 - for GPUs alone

    chosen = gpu_grid.choose(graph, *found, network.manifest.scale, grid)
    if chosen != grid:
        _logger.info("tiles of %d, whose activations fit into the GPU's L2 cache", chosen.tile)
    return chosen


def _smaller_grids(graph: Graph, grid: Grid, tiling: Tiling) -> list[Grid]:
    """The grids that take a grid's place where memory is short, the largest tiles first."""
    if tiling.is_default and graph.tile is None:
        return []
    if len(graph.recorded_grids) > 1:
        overlap = tiling.overlap
        return [
            replace(grid, tile=each.tile, overlap=each.overlap if overlap is None else overlap)
            for each in graph.recorded_grids
            if each.tile < grid.tile
        ]
    side = min(grid.tile, max(grid.height, grid.width) + 2 * grid.border)
    grids = []
    while side > SMALLEST_TILE:
        side = max(side // 2, SMALLEST_TILE)
        grids.append(replace(grid, tile=side))
    return grids


def _fitting(grids: Sequence[Grid], need: Callable[[Grid], int], have: int) -> Sequence[Grid]:
    """The grids from the first on that fits into memory."""
    for index, grid in enumerate(grids):
        if need(grid) <= have:
            return grids[index:]
    raise memory.too_little(*grids[-1].window, need(grids[-1]), have)


def _reserved(network: Network, graph: Graph, grids: Sequence[Grid], samples: int) -> Grid:
    """The first grid whose windows fit into the GPU's memory, which is taken for them."""

    def reserve(grid: Grid) -> None:
        network.reserve(graph, *grid.window, samples * grid.rows * grid.columns)

    if not network.is_on_gpu(graph):
        return grids[0]
    for grid in grids[:-1]:
        try:
            reserve(grid)
        except GpuMemoryError as error:
            _logger.info("windows of %d×%d do not fit: %s", *grid.window, error)
        else:
            return grid
    reserve(grids[-1])
    return grids[-1]


def _windows_at_once(network: Network, graph: Graph) -> int:
    """Windows in flight that keep the processors, or the GPU, busy."""
    busy = windows_at_once()
    return max(busy, _GPU_WINDOWS) if network.is_on_gpu(graph) else busy
