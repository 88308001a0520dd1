"""Q/DQ pairs in a graph: symmetric, zero point 0, weights per output channel, biases as they are.

Two facts about CPUs shape it (docs/precision.md has the measurements). OpenVINO 2026.4 computes a
convolution wrongly whose quantised input is a `Concat`, unless the parts are quantised first and
the concatenation itself is INT8. And where a CPU has no VNNI, products of 8-bit activations and
8-bit weights saturate in 16 bits, so weights use 7 of their bits wherever OpenVINO takes that path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from calib.ranges import Ranges

LARGEST = 127
"""Largest quantised activation, and weight that reads an INT8 concatenation."""
LARGEST_SEVEN_BITS = 63
"""Largest of any other weight: 2 · 255 · 63 still fits 16 bits."""


@dataclass(frozen=True)
class Weights:
    """A convolution's weights: int8 [O, I, kh, kw], and a scale [O] in the graph's float type."""

    values: NDArray[np.int8]
    scale: NDArray[np.floating]

    @property
    def dequantised(self) -> NDArray[np.float32]:
        """What the convolution multiplies by."""
        return self.values.astype(np.float32) * self.scale.astype(np.float32)[:, None, None, None]


def quantise_weights(weight: NDArray[np.floating], largest: int) -> Weights:
    """Symmetric and per output channel, with magnitudes up to `largest`."""
    exact = weight.astype(np.float32)
    magnitude = np.abs(exact).max(axis=(1, 2, 3))
    scale = _scale(magnitude / largest, weight.dtype)
    steps = np.rint(exact / scale.astype(np.float32)[:, None, None, None])
    return Weights(np.clip(steps, -largest, largest).astype(np.int8), scale)


def activation_scale(magnitude: float, dtype: np.dtype[np.floating]) -> NDArray[np.floating]:
    """The scale of a tensor whose values reach `magnitude`, a scalar of the graph's float type."""
    return _scale(np.float32(magnitude / LARGEST), dtype)


def _scale(
    value: NDArray[np.floating] | np.floating, dtype: np.dtype[np.floating]
) -> NDArray[np.floating]:
    # The smallest normal number: a scale that underflows to 0 would divide by it.
    return np.maximum(value, np.finfo(dtype).tiny).astype(dtype)


def place(model: ir.Model, ranges: Ranges, largest: Mapping[str, int]) -> ir.Model:
    """Put pairs before the named convolutions and make their weights int8; changes the model.

    Args:
        model: a graph whose convolutions have bias and constant weights.
        ranges: magnitude of the input by convolution name; those not named stay as they are. What
            is read with the same range by several is quantised once.
        largest: of a weight, by convolution name.
    """
    placer = _Placer(model.graph)
    for node in list(model.graph):
        name = node.name or ""
        if node.op_type == "Conv" and name in ranges:
            placer.quantise(node, ranges[name], largest[name])
    placer.tidy()
    return model


class _Placer:
    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph

    def quantise(self, conv: ir.Node, magnitude: float, largest: int) -> None:
        source, weight = conv.inputs[0], conv.inputs[1]
        assert source is not None
        assert weight is not None
        assert weight.const_value is not None
        exact = weight.const_value.numpy()
        step = activation_scale(magnitude, exact.dtype)
        scale = self._constant(f"scale/{float(step)!r}", step)
        zero = self._constant("zero/int8", np.array(0, np.int8))
        producer = source.producer()
        if producer is not None and producer.op_type == "Concat":
            parts = [self._quantise_value(part, conv, scale, zero) for part in _parts(source)]
            joined = ir.node("Concat", parts, {"axis": 1}, name=f"{conv.name}/Concat")
            _name(joined)
            self.graph.insert_before(conv, [joined])
            low = joined.outputs[0]
        else:
            low = self._quantise_value(source, conv, scale, zero)
        conv.replace_input_with(0, self._dequantise(conv, low, [scale, zero], "input"))
        made = quantise_weights(exact, largest)
        constants = [
            self._constant(f"{weight.name}/int8", made.values),
            self._constant(f"{weight.name}/scale", made.scale),
            self._constant(f"{weight.name}/zero", np.zeros(len(made.scale), np.int8)),
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
        attributes = {"axis": 0} if what == "weight" else {}
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
