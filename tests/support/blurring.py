"""A bundle whose networks blur, with zeros beyond the picture: only a border keeps its edge."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import runtime
from runtime import Bundle, Model
from tests.support.bundles import write_bundle

REACH = 3
"""LR pixels that the networks look beyond their own."""


def _convolution(source: str, name: str, side: int, stride: int) -> tuple[Any, Any]:
    """The mean over side × side pixels of each colour, with zeros beyond the picture."""
    weight = np.zeros((3, 3, side, side), np.float32)
    weight[range(3), range(3)] = 1 / side**2
    before = (side - stride) // 2
    node = helper.make_node(
        "Conv", [source, f"w_{name}"], [name], strides=[stride] * 2, pads=[before] * 4
    )
    return node, numpy_helper.from_array(weight, f"w_{name}")


def _graph(direction: str) -> bytes:
    if direction == "inverse":
        steps = [_convolution(*pair, 3, 1) for pair in (("lr", "a"), ("a", "b"), ("b", "c"))]
        large = helper.make_node("Resize", ["c", "", "scales"], ["hr"], mode="nearest")
        weights = [numpy_helper.from_array(np.array([1, 1, 4, 4], np.float32), "scales")]
        nodes, names = [*(node for node, _ in steps), large], ("lr", "hr")
    else:
        steps = [_convolution("hr", "a", 4 * 5, 4), _convolution("a", "lr", 3, 1)]
        nodes, names, weights = [node for node, _ in steps], ("hr", "lr"), []
    images = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3, f"H_{n}", f"W_{n}"])
        for n in names
    ]
    graph = helper.make_graph(
        nodes, "blur", images[:1], images[1:], [weight for _, weight in steps] + weights
    )
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    return model.SerializeToString()


def blurring(
    folder: Path,
    border: int,
    *,
    backend: str = "onnxruntime",
    threads: int | None = None,
    **changes: Any,
) -> Model:
    """A bundle whose networks blur, so that zeros beyond the picture darken its edge."""
    write_bundle(folder, latents=False)
    manifest = Bundle.open(folder).manifest
    graphs = []
    for graph in manifest.graphs:
        data = _graph(graph.direction)
        (folder / graph.file).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        same = {"sha256": digest, "bytes": len(data), "latents": False, "border": border}
        graphs.append(replace(graph, **same | changes))
    (folder / "manifest.json").write_text(replace(manifest, graphs=tuple(graphs)).to_json())
    return runtime.load(folder, backend=backend, threads=threads)
