"""Concatenations in the form of which TensorRT-RTX moves fewest bytes: aligned and nested.

Its 8-bit convolutions take channels in sixteens, and it appends to a buffer in place where the
concatenation is one of that buffer and new channels. The results are the same.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx
import onnx_ir as ir

MULTIPLE = 16
"""Channels to which the first part of a concatenation is padded with zeros."""


def align(model: ir.Model, convs: Collection[str]) -> None:
    """Pad the first part of what these convolutions read, and their weights, with zeros.

    Args:
        model: changed in place; its concatenations are flat.
        convs: names of convolutions with constant weights; concatenations that others read stay.
    """
    graph, widths = model.graph, _channels(model)
    firsts = [node.inputs[0] for node in graph if _is_read_by(node, convs)]
    for first in dict.fromkeys(firsts):
        assert first is not None
        channels = widths[first.name or ""]
        missing = -channels % MULTIPLE
        if missing and firsts.count(first) > 1:
            _pad(graph, first, channels, missing, convs)


def _is_read_by(node: ir.Node, convs: Collection[str]) -> bool:
    """Whether it is a concatenation that these convolutions alone read."""
    uses = node.outputs[0].uses()
    return node.op_type == "Concat" and bool(uses) and all(use.node.name in convs for use in uses)


def _pad(
    graph: ir.Graph, first: ir.Value, channels: int, missing: int, convs: Collection[str]
) -> None:
    pads = np.array([0, 0, 0, 0, 0, missing, 0, 0], np.int64)
    sizes = ir.Value(name=f"{first.name}/pads", const_value=ir.tensor(pads))
    graph.register_initializer(sizes)
    padded = ir.node("Pad", [first, sizes], name=f"{first.name}/Pad")
    padded.outputs[0].name = f"{padded.name}:0"
    readers = [use.node for use in first.uses() if use.idx == 0 and use.node is not padded]
    joined = [node for node in readers if _is_read_by(node, convs)]
    direct = [node for node in readers if node.name in convs]
    earliest = next(node for node in graph if node in (*joined, *direct))
    graph.insert_before(earliest, [padded])
    for node in (*joined, *direct):
        node.replace_input_with(0, padded.outputs[0])
    through = [use.node for node in joined for use in node.outputs[0].uses()]
    for conv in (*through, *direct):
        _widen(conv, channels, missing)


def _widen(conv: ir.Node, channels: int, missing: int) -> None:
    """Zero columns in a convolution's weights behind its first channels."""
    weight = conv.inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    exact = weight.const_value.numpy()
    zeros = np.zeros((exact.shape[0], missing, *exact.shape[2:]), exact.dtype)
    wide = np.concatenate([exact[:, :channels], zeros, exact[:, channels:]], axis=1)
    weight.const_value = ir.tensor(wide, name=weight.name)
    weight.shape = ir.Shape(wide.shape)


def _channels(model: ir.Model) -> dict[str, int]:
    """Channels of every value of four dimensions, by ONNX's own shape inference."""
    inferred = onnx.shape_inference.infer_shapes(ir.to_proto(model)).graph
    shapes = {value.name: value.type.tensor_type.shape.dim for value in inferred.value_info}
    return {name: dims[1].dim_value for name, dims in shapes.items() if len(dims) == 4}


def nest(graph: ir.Graph) -> None:
    """Write each concatenation as one of the longest before it that begins alike, and the rest."""
    before: dict[tuple[ir.Value, ...], ir.Value] = {}
    for node in graph:
        if node.op_type != "Concat":
            continue
        parts = tuple(part for part in node.inputs if part is not None)
        for length in range(len(parts) - 1, 1, -1):
            if parts[:length] in before:
                rest = parts[length:]
                node.resize_inputs(1 + len(rest))
                for index, part in enumerate((before[parts[:length]], *rest)):
                    node.replace_input_with(index, part)
                break
        before[parts] = node.outputs[0]
