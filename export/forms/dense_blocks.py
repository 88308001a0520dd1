"""The dense blocks of a graph, found by their nodes' names and held to their structure.

A build writes a dense block flat: layer k reads the concatenation of the block's input x and of
everything that the layers before it gave.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from dataclasses import dataclass

import onnx

_CONVOLUTION = re.compile(r"(.+)/conv([1-9])")


@dataclass(frozen=True)
class DenseBlock:
    """The nodes of one dense block of n convolutions.

    Attributes:
        x: the value that it reads.
        convolutions: n of them.
        activations: LeakyRelu after each but the last, which give l1, l2, ….
        concatenations: [x, l1], [x, l1, l2], …, each read by the next convolution alone.
        residual: the Add of `x` to the last convolution, where there is one.
    """

    x: str
    convolutions: tuple[onnx.NodeProto, ...]
    activations: tuple[onnx.NodeProto, ...]
    concatenations: tuple[onnx.NodeProto, ...]
    residual: onnx.NodeProto | None


def find(graph: onnx.GraphProto) -> list[DenseBlock]:
    """Every dense block that is written flat, in the graph's order."""
    found = _Finder(graph)
    groups: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        if node.op_type == "Conv" and (name := _CONVOLUTION.fullmatch(node.name)):
            groups[name[1]].append(node)
    blocks = (found.block(nodes) for nodes in groups.values())
    return [block for block in blocks if block is not None]


class _Finder:
    """Who makes each value of a graph, and how often it is read."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.weights = {tensor.name for tensor in graph.initializer}
        self.makers = {name: node for node in graph.node for name in node.output}
        self.reads = Counter(name for node in graph.node for name in node.input)
        self.reads.update(value.name for value in graph.output)
        self.readers = {name: node for node in graph.node for name in node.input}

    def block(self, convolutions: list[onnx.NodeProto]) -> DenseBlock | None:
        """The block of these convolutions; None where it is not flat, or read from outside."""
        if len(convolutions) < 2 or not all(map(self._has_own_weights, convolutions)):
            return None
        x = convolutions[0].input[0]
        parts, activations, concatenations = [x], [], []
        for before, after in itertools.pairwise(convolutions):
            layer = self._between(before, after)
            if layer is None:
                return None
            activation, joined = layer
            parts.append(activation.output[0])
            if list(joined.input) != parts:
                return None
            activations.append(activation)
            concatenations.append(joined)
        if any(self.reads[part] != len(parts) - k for k, part in enumerate(parts) if k > 0):
            return None
        return DenseBlock(
            x,
            tuple(convolutions),
            tuple(activations),
            tuple(concatenations),
            self._residual(x, convolutions[-1].output[0]),
        )

    def _between(
        self, before: onnx.NodeProto, after: onnx.NodeProto
    ) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
        """The activation of one convolution, and the concatenation that the next one reads."""
        joined = self.makers.get(after.input[0])
        if joined is None or joined.op_type != "Concat" or self.reads[joined.output[0]] != 1:
            return None
        activation = self.makers.get(joined.input[-1])
        if activation is None or activation.op_type != "LeakyRelu":
            return None
        alone = self.reads[before.output[0]] == 1 and activation.input[0] == before.output[0]
        return (activation, joined) if alone else None

    def _has_own_weights(self, node: onnx.NodeProto) -> bool:
        names = node.input[1:]
        return len(names) == 2 and all(n in self.weights and self.reads[n] == 1 for n in names)

    def _residual(self, x: str, last: str) -> onnx.NodeProto | None:
        reader = self.readers.get(last)
        if reader is None or reader.op_type != "Add" or self.reads[last] != 1:
            return None
        return reader if x in reader.input else None
