"""Which recorded grid a GPU runs: one whose activations fit its L2 cache, where predicted faster.

A prediction, nothing measured: the engine's program at the peaks of the card's data sheet, every
kernel's launch, and, where the windows in flight fit, traffic at the cache's bandwidth. It follows
from the card, the engine and the image's size alone, so that an image has the same grid each time.
"""

from __future__ import annotations

import math
from dataclasses import replace

from runtime.bundle.engines.entry import Engine
from runtime.bundle.graph_entry import Graph
from runtime.inference import predicted
from runtime.inference.grid import Grid
from runtime.system import gpus
from runtime.system.gpus import Card, DataSheet

STREAMS = 2
"""Windows whose activations are alive at once: a session has so many streams."""

SCRATCH = 8.2e6
"""Bytes of scratch that every engine with a convolution takes (docs/engines.md): no activations."""

CACHE_GAIN = 3.5
"""L2's bandwidth over memory's: 5120 bytes a clock on an A100, by NVIDIA's whitepaper."""

LAUNCH = 2e-6
"""Seconds of a kernel's launch in a captured graph: assumed."""

WORTH = 0.9
"""Another grid than the graph's own must be predicted to take at most so much of its time."""


def choose(graph: Graph, engine: Engine, card: Card, scale: int, own: Grid) -> Grid:
    """The recorded grid that is predicted fastest.

    Args:
        graph: whose recorded grids.
        engine: that runs it.
        card: the GPU.
        scale: of the network.
        own: the image in the graph's own grid, which is kept where the program, its memory or the
            card's data sheet is not known, and where nothing is predicted to be clearly faster.
    """
    found = gpus.data_sheet(card.name, card.multiprocessors)
    if found is None:
        return own
    _, sheet = found
    best, least = own, seconds(engine, sheet, card.l2, scale, own)
    if least is None:
        return own
    least *= WORTH
    for each in graph.recorded_grids[1:]:
        grid = replace(own, tile=each.tile, overlap=each.overlap)
        taken = seconds(engine, sheet, card.l2, scale, grid)
        if taken is not None and taken < least:
            best, least = grid, taken
    return best


def seconds(engine: Engine, sheet: DataSheet, l2: int, scale: int, grid: Grid) -> float | None:
    """Predicted seconds of an image in a grid; None where they are not known.

    Args:
        engine: whose program runs every window.
        sheet: the card's peaks.
        l2: bytes of its L2 cache.
        scale: of the network.
        grid: the image in tiles.
    """
    pixels = math.prod(grid.window)
    floor = predicted.floor(engine, sheet, scale, pixels)
    size = _working_set(engine, scale, pixels)
    if floor is None or size is None or engine.program is None:
        return None
    traffic = floor.traffic / (CACHE_GAIN if STREAMS * size <= l2 else 1)
    window = max(floor.compute, traffic) + engine.program.kernels * LAUNCH
    return grid.rows * grid.columns * window


def _working_set(engine: Engine, scale: int, pixels: int) -> float | None:
    """Bytes that a window of so many LR pixels keeps alive: the compiler's figure, scaled."""
    if engine.memory.activations is None:
        return None
    largest = predicted.lr_pixels(engine.profiles[-1], scale, largest=True)
    return SCRATCH + max(0.0, engine.memory.activations - SCRATCH) * pixels / largest
