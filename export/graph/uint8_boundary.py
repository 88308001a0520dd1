"""A float graph → the same graph with uint8 images at its boundary, `--io uint8`.

uint8 NHWC goes in and comes out: scaling, clipping and rounding are in the graph, so that a frame
crosses the bus as bytes. A clip hides NaN, so an output `health` reports it
(docs/graph-contract.md, section 6).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnx_ir.tape import Tape

from runtime.bundle.uint8_images import HEALTH, IO, SATURATED

_NHWC_TO_NCHW = [0, 3, 1, 2]
_NCHW_TO_NHWC = [0, 2, 3, 1]
_PREFIX = "boundary"


def convert(data: bytes) -> ir.Model:
    """The graph of these bytes with uint8 NHWC images at its boundary, and `health`."""
    model = ir.from_proto(onnx.load_from_string(data))
    graph = model.graph
    tape = Tape()

    def op(kind: str, inputs: Sequence[ir.Value], suffix: str = "", **attributes: Any) -> ir.Value:
        name = f"{_PREFIX}/{kind}{suffix}"
        value = tape.op(kind, inputs, attributes, name=name)
        value.name = f"{name}:0"
        return value

    def constant(name: str, array: Any) -> ir.Value:
        if name in graph.initializers:
            return graph.initializers[name]
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        graph.register_initializer(value)
        return value

    def number(x: float) -> ir.Value:
        return constant(f"scalar/float32/{x!r}", np.array(x, np.float32))

    planes = graph.inputs[0]  # lr or hr; latents follow
    source = _bytes_like(planes)
    scaled = op("Cast", [source], to=ir.DataType.FLOAT.value)
    scaled = op("Transpose", [scaled], perm=_NHWC_TO_NCHW)
    scaled = op("Div", [scaled, number(255.0)])
    planes.replace_all_uses_with(scaled)
    graph.inputs[0] = source
    graph.insert_before(graph[0], tape.nodes)

    tape = Tape()
    image = graph.outputs[0]
    producer = image.producer()
    assert producer is not None
    target = _bytes_like(image)
    image.name = f"{producer.name}:{image.index()}"
    within = op("Clip", [image, number(-SATURATED), number(1 + SATURATED)])
    beyond = op("Sub", [image, within])
    axes = constant("axes/1+2+3", np.array([1, 2, 3], np.int64))
    health = op("ReduceL1", [beyond, axes], keepdims=0)
    health.name, health.shape = HEALTH, ir.Shape(["N"])
    health.type = ir.TensorType(ir.DataType.FLOAT)
    clipped = op("Clip", [image, number(0.0), number(1.0)], "_2")
    levels = op("Round", [op("Mul", [clipped, number(255.0)])])
    levels = op("Transpose", [levels], "_2", perm=_NCHW_TO_NHWC)
    pixels = op("Cast", [levels], "_2", to=ir.DataType.UINT8.value)
    pixels.name, pixels.shape, pixels.type = target.name, target.shape, target.type
    graph.extend(tape.nodes)
    graph.outputs[:] = [pixels, health]
    model.metadata_props["hcflow.io"] = IO
    RemoveUnusedNodesPass()(model)
    return model


def _bytes_like(planes: ir.Value) -> ir.Value:
    """An image of the same name and size as uint8 NHWC."""
    assert planes.shape is not None
    shape = ir.Shape([planes.shape[axis] for axis in _NCHW_TO_NHWC])
    return ir.Value(name=planes.name, shape=shape, type=ir.TensorType(ir.DataType.UINT8))
