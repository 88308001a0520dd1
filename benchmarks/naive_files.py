"""The script that anyone would write: a naive export in OpenVINO, float32, over tiles of a file.

    python -m benchmarks.naive_files GRAPH.onnx SOURCE OUTPUT --tile 256 --overlap 24 \
        --latents 6:2,21:1

It compiles the graph for the window and keeps the whole image in memory: no borders, no alpha, no
metadata, no checks. Without `--latents` it downscales. The benchmarks run it beside `hcflow`.
"""

from __future__ import annotations

import argparse

import numpy as np
import openvino
from numpy.typing import NDArray
from PIL import Image

from runtime.inference.grid import Grid

SCALE = 4
OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}


def convert(
    graph: str, image: NDArray[np.float32], tile: int, overlap: int, latents: list[tuple[int, int]]
) -> NDArray[np.uint8]:
    """An image [H, W, 3] in [0, 1] upscaled with latents of zero, or downscaled without latents.

    Args:
        graph: the ONNX file.
        image: the image; to downscale, its sides are multiples of the scale.
        tile: LR pixels of a tile without its overlap.
        overlap: LR pixels beyond it on each side.
        latents: channels and factor of each level; empty downscales.
    """
    name, enter, leave = ("lr", 1, SCALE) if latents else ("hr", SCALE, 1)
    height, width = (side // enter for side in image.shape[:2])
    grid = Grid(height, width, tile, overlap)
    rows, columns = grid.window
    shapes = {name: [1, 3, rows * enter, columns * enter]}
    for level, (channels, factor) in enumerate(latents, start=1):
        shapes[f"z{level}"] = [1, channels, rows * factor, columns * factor]
    core = openvino.Core()
    model = core.read_model(graph)
    model.reshape(shapes)
    run = core.compile_model(model, "CPU", OPTIONS)
    feeds = {key: np.zeros(shape, np.float32) for key, shape in shapes.items()}
    result = np.empty((height * leave, width * leave, 3), np.uint8)
    for each in grid.tiles():
        window = image[each.y.window(enter), each.x.window(enter)].transpose(2, 0, 1)
        found = run({**feeds, name: np.ascontiguousarray(window[None])})[0][0].transpose(1, 2, 0)
        part = found[each.y.core_in_window(leave), each.x.core_in_window(leave)]
        result[each.y.core(leave), each.x.core(leave)] = np.rint(part.clip(0, 1) * 255)
    return result


def main() -> None:
    """Read, convert, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("graph")
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("--tile", type=int, required=True)
    parser.add_argument("--overlap", type=int, required=True)
    parser.add_argument("--latents", default="", help="CHANNELS:FACTOR of each level, by commas")
    given = parser.parse_args()
    latents = [(int(c), int(f)) for c, f in (z.split(":") for z in given.latents.split(",") if z)]
    image = np.asarray(Image.open(given.source).convert("RGB"), np.float32) / np.float32(255)
    result = convert(given.graph, image, given.tile, given.overlap, latents)
    Image.fromarray(result).save(given.output)


if __name__ == "__main__":
    main()
