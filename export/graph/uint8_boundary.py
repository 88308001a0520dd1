"""A float graph → the same graph with bytes at its boundary, `--io uint8`.

uint8 NHWC goes in and comes out: scaling, clipping and rounding are in the graph, so that a frame
crosses the bus as bytes. A clip hides NaN, so that an output `health` tells of it
(docs/graph-contract.md, section 6).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from onnx_ir.tape import Tape

from export.artifact import NUMERICS, Artifact
from export.checks.parity import check
from export.checks.reference_cases import Case
from export.graph import contract
from export.precision import report
from runtime.backends import open_session
from runtime.bundle import uint8_images
from runtime.bundle.uint8_images import HEALTH, IO, SATURATED

_NHWC_TO_NCHW = [0, 3, 1, 2]
_NCHW_TO_NHWC = [0, 2, 3, 1]
_PREFIX = "boundary"


def build(built: Artifact, cases: Sequence[Case], with_latents: bool) -> Artifact:
    """The graph of an artifact with a uint8 boundary, checked where the cases are of 8 bits.

    A forward graph gives the image alone: latents and `logp` are left out, and what computes them.

    Args:
        built: a graph with a float32 boundary; its grid of tiles holds for the other one too.
        cases: inputs and the reference's outputs.
        with_latents: whether an inverse takes latents.
    """
    entry = built.entry
    emitted = convert(built.data)
    contract.check(emitted, IO)
    data = ir.to_proto(emitted).SerializeToString(deterministic=True)
    session = open_session("onnxruntime", data, NUMERICS, 0)
    parity = check(
        lambda feeds: uint8_images.run(session.run, feeds),
        cases,
        with_latents,
        entry.precision,
        io=IO,
    )
    digest = hashlib.sha256(data).hexdigest()
    made = replace(
        entry,
        io=IO,
        latents=entry.latents and entry.direction == "inverse",
        file=f"{entry.direction}.{entry.precision}.{IO}.{digest[:12]}.onnx",
        sha256=digest,
        bytes=len(data),
        nodes=len(emitted.graph),
        casts=sum(node.op_type == "Cast" for node in emitted.graph),
        parity=tuple(parity),
        within_budget=entry.within_budget and all(row.ok for row in parity),
    )
    if built.lowered is None:
        return Artifact(data, made)
    checkpoint_sha256 = emitted.metadata_props["hcflow.checkpoint_sha256"]
    written = report.files(made, built.lowered, checkpoint_sha256)
    return Artifact(data, replace(made, report=next(iter(written))), written, built.lowered)


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
