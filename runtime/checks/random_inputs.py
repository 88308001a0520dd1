"""Random inputs of a graph, and the run of a network on them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from runtime.bundle.graph_entry import IMAGES, Graph
from runtime.bundle.manifest import Manifest
from runtime.inference.network import Network

Feeds = Mapping[str, NDArray[np.float32]]


def random_inputs(
    manifest: Manifest, graph: Graph, n: int, height: int, width: int, seed: int = 0
) -> dict[str, NDArray[np.float32]]:
    """Inputs of a graph for n LR images of height × width, as float32 NCHW.

    Images are noise of 8-bit values, k/255, which every graph takes; latents have variance 1.
    """
    random = np.random.default_rng(seed)
    return {
        name: random.integers(0, 256, shape).astype(np.float32) / np.float32(255)
        if name in IMAGES
        else random.standard_normal(shape, np.float32)
        for name, shape in manifest.input_shapes(graph, n, height, width).items()
    }


def run(network: Network, graph: Graph, feeds: Feeds) -> NDArray[np.float32]:
    """The image that a network gives for the inputs of one of its graphs, with all its checks."""
    if graph.direction == "forward":
        return network.encode(feeds["hr"], latents=graph.latents)["lr"]
    return network.decode(feeds["lr"], [z for name, z in feeds.items() if name != "lr"] or None)
