"""The cost of a graph at given shapes: operations, and bytes that must move."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.errors import ExportError

MATRIX_SIDE = 1024


@dataclass(frozen=True)
class Work:
    """What one run costs.

    Attributes:
        flops: floating-point operations of the convolutions, a multiply-add being two.
        bytes: inputs, weights and outputs, each moved once: what no implementation can avoid.
        convolutions: how many there are.
    """

    flops: float
    bytes: float
    convolutions: int


def count(graph: bytes, shapes: Mapping[str, tuple[int, ...]]) -> Work:
    """Count a graph's work at the shapes of its inputs.

    Raises:
        ExportError: a shape in the graph does not follow from the inputs'.
    """
    model = onnx.load_from_string(graph)
    for value in model.graph.input:
        dimensions = value.type.tensor_type.shape.dim
        for dimension, size in zip(dimensions, shapes[value.name], strict=True):
            dimension.Clear()
            dimension.dim_value = size
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(f"the graph does not fit these shapes: {error}") from error
    known = {
        value.name: value.type.tensor_type
        for group in (inferred.graph.value_info, inferred.graph.output, inferred.graph.input)
        for value in group
    }
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    flops, convolutions = 0.0, 0
    for node in inferred.graph.node:
        if node.op_type != "Conv":
            continue
        weight = weights.get(node.input[1]) or _shape(known, node.input[1])
        flops += 2.0 * math.prod(_shape(known, node.output[0])) * math.prod(weight[1:])
        convolutions += 1
    moved = sum(_bytes(known, value.name) for value in (*model.graph.input, *model.graph.output))
    moved += sum(
        math.prod(tensor.dims) * _itemsize(tensor.data_type) for tensor in model.graph.initializer
    )
    return Work(flops, float(moved), convolutions)


def matrix_product() -> tuple[bytes, dict[str, Any], float]:
    """A large float32 product as a graph, its feeds and operations: a CPU's measured ceiling."""
    side = MATRIX_SIDE
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [side, side]) for name in "abc"
    ]
    node = helper.make_node("MatMul", ["a", "b"], ["c"])
    graph = helper.make_graph([node], "product", values[:2], values[2:])
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    matrix = np.random.default_rng(0).random((side, side), np.float32)
    return model.SerializeToString(), {"a": matrix, "b": matrix}, 2.0 * side**3


def _shape(known: Mapping[str, Any], name: str) -> tuple[int, ...]:
    if name not in known or any(not d.HasField("dim_value") for d in known[name].shape.dim):
        raise ExportError(f"the shape of '{name}' does not follow from the graph's inputs")
    return tuple(d.dim_value for d in known[name].shape.dim)


def _bytes(known: Mapping[str, Any], name: str) -> int:
    return math.prod(_shape(known, name)) * _itemsize(known[name].elem_type)


def _itemsize(kind: int) -> int:
    return int(helper.tensor_dtype_to_np_dtype(kind).itemsize)
