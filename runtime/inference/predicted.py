"""The least time that an engine's kernels can take on a card: a prediction, nothing measured.

It is the longer of two: the convolutions' operations at the card's peak of each type, and the
activations' bytes at its memory's. Weights, launches and everything else come on top; a cache that
keeps activations from one kernel to the next takes away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.bundle.engines.entry import Engine, Profile
from runtime.bundle.graph_entry import Graph
from runtime.inference.grid import Grid
from runtime.system import gpus
from runtime.system.gpus import DataSheet

CARDS = (
    "RTX 4070",
    "RTX 4090",
    "RTX 5090",
    "L4",
    "T4",
    "A10",
    "A100-SXM4-80GB",
    "H100 80GB HBM3",
    "H200",
)
"""Cards that predictions are made for, as `gpus` lists them."""

SIZES: Mapping[str, tuple[int, int]] = {"1080p": (1080, 1920), "8K": (4320, 7680)}
"""Height and width of the large image, in HR pixels."""


@dataclass(frozen=True)
class Floor:
    """Seconds of one image.

    Attributes:
        compute: of the convolutions at the card's peaks.
        traffic: of the activations at its memory's.
    """

    compute: float
    traffic: float

    @property
    def seconds(self) -> float:
        """The longer of the two."""
        return max(self.compute, self.traffic)


def floor(engine: Engine, card: DataSheet, scale: int, pixels: int) -> Floor | None:
    """What an engine needs at least for a number of LR pixels.

    Args:
        engine: whose program is scaled from the shapes it was read at.
        card: the GPU's figures.
        scale: of the network.
        pixels: LR pixels that are computed, overlaps of tiles included.

    Returns:
        None where the program is not known, or the card has no such type, or float32 runs in TF32,
        whose peak is not listed.
    """
    program = engine.program
    if program is None or program.bytes is None or program.operations is None or engine.tf32:
        return None
    peaks = {kind: card.peak(kind) for kind in program.operations}
    if None in peaks.values():
        return None
    share = pixels / lr_pixels(engine.profiles[0], scale)
    compute = sum(n / ((peaks[kind] or 1) * 1e12) for kind, n in program.operations.items())
    return Floor(share * compute, share * program.bytes / (card.bandwidth * 1e9))


def floors(engine: Engine, graph: Graph, scale: int) -> dict[str, dict[str, Floor | None]]:
    """Card → size → floor, for every card of `CARDS` and every size of `SIZES`."""
    pixels = {size: computed(graph, scale, *sides) for size, sides in SIZES.items()}
    return {
        name: {
            size: floor(engine, gpus.listed(name), scale, count) for size, count in pixels.items()
        }
        for name in CARDS
    }


def computed(graph: Graph, scale: int, height: int, width: int) -> int:
    """LR pixels that are computed for an image of height × width HR pixels, tile by tile."""
    low, wide = -(-height // scale), -(-width // scale)
    if graph.tile is None:
        grid = Grid.whole(low, wide, graph.border)
    else:
        grid = Grid(low, wide, graph.tile, graph.overlap or 0, graph.border)
    return grid.rows * grid.columns * math.prod(grid.window)


def lr_pixels(profile: Profile, scale: int, *, largest: bool = False) -> int:
    """LR pixels of a profile's best shapes, at which a program is read, or of its largest."""
    (name, shapes), *_ = profile.items()
    batch, _, height, width = _planes(shapes.largest if largest else shapes.best)
    pixels = batch * height * width
    return max(1, pixels // scale**2 if name == "hr" else pixels)


def _planes(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """N, C, H, W of an image's shape, which is N×H×W×C with uint8 images."""
    batch, first, second, third = shape
    return (batch, third, first, second) if third == 3 else (batch, first, second, third)
