"""What tiles change in INT8, amplified: `python -m benchmarks.tile_difference` writes the picture.

A crop of `coffee`, downscaled and upscaled by the default model in INT8 with small tiles, less the
same without tiles: on the left without overlap, on the right with the overlap of the manifest. One
step of 8 bits is 64 gray levels. Ticks at the edges are where tiles meet.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import runtime
from hcflow.models.shipped import DEFAULT, resolve
from hcflow_ref.images.photographs import photograph
from runtime.inference.grid import Grid

OUTPUT = Path(__file__).parents[1] / "docs" / "tile-difference.png"
TILE = 32
LR_HEIGHT, LR_WIDTH = 64, 96
AMPLIFIED = 64
TICK = 6

Pixels = NDArray[np.uint8]


def main() -> int:
    """Write the picture."""
    model = runtime.load(resolve(DEFAULT), precision="int8", backend="openvino")
    scale = model.scale
    crop = photograph("coffee")[: LR_HEIGHT * scale, : LR_WIDTH * scale]
    small = model.downscale(crop)
    graph = model.network.graph("inverse", None)
    whole = model.upscale(small, tile=2 * LR_WIDTH, overlap=0)  # one window, border included
    panels = []
    for width in (0, graph.overlap or 0):
        off = np.abs(model.upscale(small, tile=TILE, overlap=width).astype(int) - whole)
        grid = Grid(LR_HEIGHT, LR_WIDTH, TILE, width, graph.border)
        panels.append(_ticked(off.max(axis=2), grid, scale))
        print(f"overlap {width}: mean {off.mean():.3f}/255, largest {off.max()}/255")
    gap = np.full((panels[0].shape[0], 2 * TICK), 255, np.uint8)
    Image.fromarray(np.hstack([panels[0], gap, panels[1]])).save(OUTPUT, optimize=True)
    return 0


def _ticked(off: NDArray[np.int_], grid: Grid, scale: int) -> Pixels:
    """Differences as gray levels on white, with ticks beside the places where tiles meet."""
    gray = np.clip(off * AMPLIFIED, 0, 255).astype(np.uint8)
    framed = np.pad(gray, TICK, constant_values=255)
    for place in (grid.row(number).start for number in range(1, grid.rows)):
        framed[TICK + scale * place, [*range(TICK), *range(-TICK, 0)]] = 0
    for place in (grid.column(number).start for number in range(1, grid.columns)):
        framed[[*range(TICK), *range(-TICK, 0)], TICK + scale * place] = 0
    return framed


if __name__ == "__main__":
    raise SystemExit(main())
