"""Graphs that no bundle may bring: what the tests of Python and of C++ make them of."""

from __future__ import annotations

from typing import Any

import onnx
from onnx import TensorProto, helper

from tests.support import bundles

ESCAPE = "\x1b]0;owned\x07"


def model(graph: onnx.GraphProto, **more: Any) -> bytes:
    opset = [helper.make_opsetid("", 20), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opset, ir_version=10, **more).SerializeToString()


def ends(*names: str) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 3, "H", "W"]) for n in names]


def single(node: onnx.NodeProto, **constants: onnx.TensorProto) -> bytes:
    return model(helper.make_graph([node], "g", ends("lr"), ends("hr"), [*constants.values()]))


def inverse(dimension: str = "H", operator: str = "Conv", name: str = "n") -> bytes:
    graph = onnx.load_from_string(bundles.inverse_graph(latents=False)).graph
    graph.node[0].op_type, graph.node[0].name = operator, name
    graph.input[0].type.tensor_type.shape.dim[2].dim_param = dimension
    return model(graph)


def endless() -> bytes:
    """A loop whose condition is always true."""
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    most = helper.make_tensor("most", TensorProto.INT64, [], [2**62])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["again"]),
            helper.make_node("Identity", ["x"], ["y"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    return single(
        helper.make_node("Loop", ["most", "true", "lr"], ["hr"], body=body), t=true, m=most
    )
