"""Peak resident memory of a large image: `python -m benchmarks.memory BUNDLE [--output 7680x4320]`.

    python -m benchmarks.memory bundles/rescale --backend openvino --windows 3

One process opens the bundle, upscales an image of the size given and prints the peak of its
resident memory, image included, and what the image alone takes (the small one that goes in and the
large one that comes out, 8 bits). `--rows N` stops after N rows of tiles, every page of the
output touched all the same: memory does not grow after the second row, so a few tell the peak.
`--windows N` computes the first N windows and gives the last one's result for all others, since
windows of one shape use the same memory: the whole picture is put together, in minutes, not hours.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from runtime.bundle.manifest import Graph
from runtime.images.pixels.arrays import Canvas, split
from runtime.inference import streaming
from runtime.inference.latent_source import Sampling
from runtime.inference.network import Network
from runtime.inference.plan import plan_for
from runtime.latents import Array
from runtime.system import machine


def measure(
    bundle: Path,
    backend: str,
    width: int,
    height: int,
    most_rows: int | None,
    most_windows: int | None,
    tau: float,
) -> dict[str, object]:
    """Upscale noise to width × height and return the figures."""
    start = time.perf_counter()
    model = runtime.load(bundle, backend=backend)
    if most_windows is not None:
        _repeat(model.network, most_windows)
    random = np.random.default_rng(0)
    size = height // model.scale, width // model.scale
    (picture,), layout = split(random.integers(0, 256, (*size, 3), np.uint8))
    canvas = Canvas(layout, 1, height, width)
    sampling = Sampling(tau)
    plan = plan_for(model.network, "inverse", *size, latents=sampling.needs_latents)
    black = np.zeros((3, 64, width), np.float32)
    for top in range(0, height, 64):  # every page of the output counts
        canvas.paint(0, top, black)
    done = 0
    for block in streaming.upscale(model.network, picture, sampling, plan=plan):
        canvas.paint(0, block.top, block.planes)
        del block  # as Model.upscale
        done += 1
        if done == most_rows:
            break
    peak = machine.peak_memory()
    return {
        "bundle": model.manifest.name,
        "backend": backend,
        "output": [width, height],
        "tau": tau,
        "tile": plan.grid.tile,
        "overlap": plan.grid.overlap,
        "in_flight": plan.in_flight,
        "rows": [done, plan.grid.rows],
        "peak_bytes": peak,
        "image_bytes": 3 * width * height + 3 * size[0] * size[1],
        "seconds": round(time.perf_counter() - start, 1),
    }


def _repeat(network: Network, most: int) -> None:
    """Let a network compute `most` windows and give the last one's result from then on."""
    compute, count, last = network.run, itertools.count(), dict[str, Array]()

    def run(graph: Graph, feeds: Any) -> dict[str, Array]:
        if next(count) < most:
            last.update(compute(graph, feeds))
        return last

    network.run = run  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--output", default="7680x4320")
    parser.add_argument("--backend", default="onnxruntime")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--windows", type=int)
    parser.add_argument("--tau", type=float, default=0.0)
    arguments = parser.parse_args()
    width, height = map(int, arguments.output.split("x"))
    figures = measure(
        arguments.bundle,
        arguments.backend,
        width,
        height,
        arguments.rows,
        arguments.windows,
        arguments.tau,
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
