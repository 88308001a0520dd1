"""Whether a graph gave what its direction promises: names, shapes and types of its outputs.

A bundle's digests say that a graph is whole, not that it follows the graph contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from runtime.bundle import uint8_images
from runtime.bundle.graph_entry import IMAGES, Graph
from runtime.bundle.manifest import Manifest
from runtime.errors import BackendError


def check(
    manifest: Manifest, graph: Graph, feeds: Mapping[str, Any], outputs: Mapping[str, Any]
) -> None:
    """Check a graph's outputs, as its backend gave them, by its inputs.

    Raises:
        BackendError: one is missing, or has another shape or type.
    """
    is_uint8 = graph.io == uint8_images.IO
    for name, shape in _shapes(manifest, graph, feeds).items():
        expected = uint8_images.shape(name, shape) if is_uint8 else shape
        if name not in outputs:
            raise _wrong(graph, f"gave no '{name}'")
        found = getattr(outputs[name], "shape", None)
        if found != expected:
            raise _wrong(graph, f"gave '{name}' of shape {found}, not {expected}")
    for name, value in outputs.items():
        wanted = "uint8" if is_uint8 and name in IMAGES else "float32"
        if not isinstance(value, np.ndarray) or value.dtype.name != wanted or not value.size:
            kind = getattr(value, "dtype", type(value).__name__)
            raise _wrong(graph, f"gave '{name}' of type {kind}, not {wanted}")


def _shapes(
    manifest: Manifest, graph: Graph, feeds: Mapping[str, Any]
) -> dict[str, tuple[int, ...]]:
    """Shapes of the outputs as float32 NCHW; of the image and of what goes with it."""
    scale = manifest.scale
    n, _, height, width = feeds["lr" if graph.direction == "inverse" else "hr"].shape
    if graph.direction == "inverse":
        return {"hr": (n, 3, scale * height, scale * width)}
    height, width = height // scale, width // scale
    latents = manifest.latents.shapes(height, width) if graph.latents else []
    return {
        "lr": (n, 3, height, width),
        **{f"z{level}": (n, *shape) for level, shape in enumerate(latents, start=1)},
    }


def _wrong(graph: Graph, what: str) -> BackendError:
    return BackendError(
        f"'{graph.file}' {what}: it does not follow the graph contract; build the bundle again"
    )
