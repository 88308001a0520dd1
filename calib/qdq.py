"""Q/DQ pairs in a graph: symmetric, zero point 0, each weight with a scale, biases as they are.

Two facts about CPUs shape those for CPUs (docs/precision.md has the measurements). OpenVINO 2026.4
computes a convolution wrongly whose quantised input is a `Concat`, unless the parts are quantised
first and the concatenation itself is INT8. And where a CPU has no VNNI, products of 8-bit
activations and 8-bit weights saturate in 16 bits, so weights use 7 of their bits wherever OpenVINO
takes that path. For TensorRT-RTX a concatenation is quantised as a whole, and is one of the
concatenation before it and the new channels: in that form the compiler moves fewest bytes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from calib import concatenations
from calib.encodings import INT8, Encoding, activation_scale, quantise_weights
from calib.ranges import Ranges


def place(
    model: ir.Model, ranges: Ranges, largest: Mapping[str, int], encoding: Encoding = INT8
) -> ir.Model:
    """Put pairs before the named convolutions and make their weights 8 bits; changes the model.

    Args:
        model: a graph whose convolutions have bias and constant weights.
        ranges: magnitude of the input by convolution name; those not named stay as they are. What
            is read with the same range by several is quantised once.
        largest: of a weight, by convolution name, where weights have scales per channel.
        encoding: of values and weights.
    """
    placer = _Placer(model.graph, encoding)
    if not encoding.joins_parts:
        concatenations.align(model, ranges)
        concatenations.nest(model.graph)
    for node in list(model.graph):
        name = node.name or ""
        if node.op_type == "Conv" and name in ranges:
            placer.quantise(node, ranges[name], largest[name])
    placer.tidy()
    return model


class _Placer:
    def __init__(self, graph: ir.Graph, encoding: Encoding) -> None:
        self.graph = graph
        self.encoding = encoding
        self.word = encoding.dtype.name

    def quantise(self, conv: ir.Node, magnitude: float, largest: int) -> None:
        source, weight = conv.inputs[0], conv.inputs[1]
        assert source is not None
        assert weight is not None
        assert weight.const_value is not None
        exact = weight.const_value.numpy()
        step = activation_scale(magnitude, exact.dtype, self.encoding)
        scale = self._constant(f"scale/{float(step)!r}", step)
        zero = self._constant(f"zero/{self.word}", np.zeros((), self.encoding.dtype))
        producer = source.producer()
        joined_by = producer.op_type if producer is not None else ""
        if joined_by == "Concat" and self.encoding.joins_parts:
            parts = [self._quantise_value(part, conv, scale, zero) for part in _parts(source)]
            joined = ir.node("Concat", parts, {"axis": 1}, name=f"{conv.name}/Concat")
            _name(joined)
            self.graph.insert_before(conv, [joined])
            low = joined.outputs[0]
        else:
            low = self._quantise_value(source, conv, scale, zero)
        conv.replace_input_with(0, self._dequantise(conv, low, [scale, zero], "input"))
        made = quantise_weights(exact, largest, self.encoding)
        zeros = np.zeros(made.scale.shape, self.encoding.dtype)
        constants = [
            self._constant(f"{weight.name}/{self.word}", made.values),
            self._constant(f"{weight.name}/scale", made.scale),
            self._constant(f"{weight.name}/zero", zeros) if zeros.ndim else zero,
        ]
        conv.replace_input_with(1, self._dequantise(conv, constants[0], constants[1:], "weight"))

    def _quantise_value(
        self, value: ir.Value, conv: ir.Node, scale: ir.Value, zero: ir.Value
    ) -> ir.Value:
        for reader, _ in value.uses():
            if reader.op_type == "QuantizeLinear" and reader.inputs[1] is scale:
                return reader.outputs[0]
        node = ir.node(
            "QuantizeLinear", [value, scale, zero], name=f"{value.name}/Quantize/{scale.name}"
        )
        _name(node)
        self.graph.insert_before(conv, [node])
        return node.outputs[0]

    def _dequantise(
        self, conv: ir.Node, value: ir.Value, constants: list[ir.Value], what: str
    ) -> ir.Value:
        attributes = {"axis": 0} if what == "weight" and self.encoding.per_channel else {}
        name = f"{conv.name}/Dequantize_{what}"
        node = ir.node("DequantizeLinear", [value, *constants], attributes, name=name)
        _name(node)
        self.graph.insert_before(conv, [node])
        return node.outputs[0]

    def _constant(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        if name not in self.graph.initializers:
            value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
            self.graph.register_initializer(value)
        return self.graph.initializers[name]

    def tidy(self) -> None:
        """Remove what nothing reads any more: float concatenations and float weights."""
        for node in reversed(list(self.graph)):
            if not any(out.uses() or out.is_graph_output() for out in node.outputs):
                self.graph.remove(node, safe=True)
        unused = [name for name, value in self.graph.initializers.items() if not value.uses()]
        for name in unused:
            del self.graph.initializers[name]


def _parts(value: ir.Value) -> list[ir.Value]:
    """What a value is the concatenation of, nested ones taken apart."""
    producer = value.producer()
    if producer is None or producer.op_type != "Concat":
        return [value]
    return [part for each in producer.inputs if each is not None for part in _parts(each)]


def _name(node: ir.Node) -> None:
    node.outputs[0].name = f"{node.name}:0"
