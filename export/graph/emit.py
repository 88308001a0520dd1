"""Trace → ONNX graph: one traced operation, one node.

The deploy module is static and made of a dozen operations, so its trace *is* the graph: no shape
arithmetic appears, sizes stay dynamic, and nodes and initialisers keep their path in the reference
(`level0/cond/trunk0/3/rdb2/conv4`). `torch.onnx` ends at the same operators, but numbers its nodes
and takes longer on the full network than a whole build may (docs/folding.md).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
import torch.nn.functional as F
from onnx_ir.tape import Tape
from torch.fx import GraphModule, Node

from export.errors import ExportError
from export.folded.fold import GraphSpec
from export.graph import trace
from export.graph.contract import boundary
from hcflow_ref.network.config import HCFlowConfig
from hcflow_ref.network.irn import IRNConfig

OPSET = 20
IR_VERSION = 10

_ONNX_DTYPES = {torch.float32: ir.DataType.FLOAT, torch.float16: ir.DataType.FLOAT16}


class _Emitter:
    """Walks a trace and writes one ONNX node per operation."""

    def __init__(self, traced: GraphModule) -> None:
        self.traced = traced
        self.tape = Tape()
        self.values: dict[Node, Any] = {}
        self.constants: dict[str, ir.Value] = {}
        self.uses: dict[str, int] = {}
        for node in traced.graph.nodes:
            self.values[node] = self._emit(node)

    def _emit(self, node: Node) -> Any:
        if node.op == "output":
            return None
        if node.op == "placeholder":
            return ir.val(node.name)
        if node.op == "call_module":
            return self._conv(node)
        if node.op == "get_attr":
            array = operator.attrgetter(str(node.target))(self.traced).numpy()
            path = str(node.target).replace(".", "/")
            return self.constant(path if "/" in path else f"{trace.scope(node)}/{path}", array)
        handler = _HANDLERS.get(node.target)
        if handler is None:
            raise ExportError(
                f"operation '{node.target}' in '{trace.scope(node)}' is not in the graph "
                "contract; add it to export/graph/emit.py or write the module without it"
            )
        return handler(self, node, *node.args, **node.kwargs)

    def constant(self, name: str, array: np.ndarray[Any, Any]) -> ir.Value:
        """An initialiser; equal names share one."""
        if name not in self.constants:
            self.constants[name] = self.tape.initializer(ir.tensor(array, name=name), name)
        return self.constants[name]

    def name(self, node: Node, kind: str) -> str:
        """A stable node name: the module's path and the operation, numbered from its second use."""
        name = "/".join(filter(None, [trace.scope(node), kind]))
        self.uses[name] = self.uses.get(name, 0) + 1
        return name if self.uses[name] == 1 else f"{name}_{self.uses[name]}"

    def op(
        self, node: Node, kind: str, inputs: Sequence[ir.Value | None], **attributes: Any
    ) -> ir.Value:
        """One node with one output."""
        name = self.name(node, kind)
        value = self.tape.op(kind, inputs, attributes, name=name)
        value.name = f"{name}:0"
        return value

    def operand(self, node: Node, value: Node | float) -> ir.Value:
        """An operand: a traced value, or a number as a scalar of the result's dtype."""
        if isinstance(value, Node):
            found: ir.Value = self.values[value]
            return found
        dtype = np.float16 if trace.dtype(node) == torch.float16 else np.float32
        name = f"scalar/{np.dtype(dtype).name}/{value!r}"
        return self.constant(name, np.array(value, dtype))

    def _conv(self, node: Node) -> ir.Value:
        conv = trace.convolution(self.traced, node)
        assert conv.bias is not None
        path = str(node.target).replace(".", "/")
        weights = [
            self.constant(f"{path}/{name}", parameter.numpy())
            for name, parameter in (("weight", conv.weight.detach()), ("bias", conv.bias.detach()))
        ]
        pad_y, pad_x = (int(p) for p in conv.padding)
        value = self.tape.op(
            "Conv",
            [self.operand(node, node.args[0]), *weights],  # type: ignore[arg-type]
            {
                "kernel_shape": list(conv.kernel_size),
                "strides": list(conv.stride),
                "pads": [pad_y, pad_x, pad_y, pad_x],
            },
            name=path,
        )
        value.name = f"{path}:0"
        return value


_HANDLERS: dict[Any, Callable[..., Any]] = {}


def _handles(*targets: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(handler: Callable[..., Any]) -> Callable[..., Any]:
        _HANDLERS.update(dict.fromkeys(targets, handler))
        return handler

    return register


def _elementwise(kind: str) -> Callable[..., ir.Value]:
    def emit(e: _Emitter, node: Node, *operands: Node | float, **_: Any) -> ir.Value:
        return e.op(node, kind, [e.operand(node, x) for x in operands])

    return emit


_HANDLERS |= {
    operator.add: _elementwise("Add"),
    operator.mul: _elementwise("Mul"),
    torch.exp: _elementwise("Exp"),
    torch.atan: _elementwise("Atan"),
    torch.tanh: _elementwise("Tanh"),
    F.relu: _elementwise("Relu"),
}


@_handles(F.leaky_relu)
def _leaky_relu(e: _Emitter, node: Node, x: Node, negative_slope: float, **_: Any) -> ir.Value:
    return e.op(node, "LeakyRelu", [e.values[x]], alpha=negative_slope)


@_handles(torch.cat)
def _concat(e: _Emitter, node: Node, tensors: Sequence[Node], axis: int) -> ir.Value:
    return e.op(node, "Concat", [e.values[x] for x in tensors], axis=axis)


@_handles(torch.split)
def _split(e: _Emitter, node: Node, x: Node, _size: int | list[int], dim: int) -> Any:
    sizes = [part.shape[dim] for part in node.meta["tensor_meta"]]
    split = e.constant("split/" + "+".join(map(str, sizes)), np.array(sizes, np.int64))
    name = e.name(node, "Split")
    outputs = e.tape.op_multi_out(
        "Split", [e.values[x], split], {"axis": dim}, num_outputs=len(sizes), name=name
    )
    for index, value in enumerate(outputs):
        value.name = f"{name}:{index}"
    return outputs


@_handles(operator.getitem)
def _getitem(e: _Emitter, node: Node, parts: Node, index: int) -> Any:
    return e.values[parts][index]


@_handles("to")
def _cast(e: _Emitter, node: Node, x: Node, dtype: torch.dtype) -> Any:
    if trace.dtype(x) == dtype:
        return e.values[x]
    return e.op(node, "Cast", [e.values[x]], to=_ONNX_DTYPES[dtype].value)


@_handles("sum")
def _sum(e: _Emitter, node: Node, x: Node, axes: int | tuple[int, ...]) -> ir.Value:
    listed = [axes] if isinstance(axes, int) else list(axes)
    constant = e.constant("axes/" + "+".join(map(str, listed)), np.array(listed, np.int64))
    return e.op(node, "ReduceSum", [e.values[x], constant], keepdims=0)


@_handles(F.pixel_shuffle)
def _depth_to_space(e: _Emitter, node: Node, x: Node, factor: int) -> ir.Value:
    return e.op(node, "DepthToSpace", [e.values[x]], blocksize=factor, mode="CRD")


@_handles(F.interpolate)
def _resize(
    e: _Emitter, node: Node, x: Node, *, scale_factor: float, mode: str, **_: Any
) -> ir.Value:
    scales = np.array([1, 1, scale_factor, scale_factor], np.float32)
    return e.op(
        node,
        "Resize",
        [e.values[x], None, e.constant(f"scales/{scale_factor:g}", scales)],
        mode=mode,
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


def to_onnx(
    traced: GraphModule,
    config: HCFlowConfig | IRNConfig,
    spec: GraphSpec,
    metadata: Mapping[str, str] | None = None,
) -> ir.Model:
    """Emit a trace as a model with a float32 boundary, named and shaped by the contract.

    Args:
        traced: what `export.graph.trace.trace` gives.
        config: of the network.
        spec: of the graph.
        metadata: written to the model's `metadata_props`.
    """
    inputs, outputs = boundary(config, spec)
    emitter = _Emitter(traced)
    nodes = list(traced.graph.nodes)
    placeholders = [emitter.values[node] for node in nodes if node.op == "placeholder"]
    results = nodes[-1].args[0]
    values = [
        emitter.values[node] for node in ([results] if isinstance(results, Node) else results)
    ]
    for found, expected in ((placeholders, inputs), (values, outputs)):
        for value, (name, shape) in zip(found, expected.items(), strict=True):
            value.name = name
            value.shape = ir.Shape(shape)
            value.type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        placeholders,
        values,
        nodes=emitter.tape.nodes,
        initializers=list(emitter.constants.values()),
        opset_imports={"": OPSET},
        name="hcflow",
    )
    return ir.Model(
        graph,
        ir_version=IR_VERSION,
        producer_name="hcflow-deploy",
        metadata_props=dict(metadata or {}),
    )
