"""Dense blocks of a graph written in another form: the same results, other concatenations.

Every form keeps the names of nodes and of weights, so that a calibration by node and new weights
of the same architecture fit it as they fit the graph that it was made from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.forms.dense_blocks import DenseBlock, find

Form = Literal["flat", "nested", "pass-through", "sums", "folded"]
FORMS: tuple[Form, ...] = get_args(Form)

MULTIPLE = 8
"""Channels to which a pass-through buffer pads its input."""

Array = NDArray[Any]


def rewrite(model: onnx.ModelProto, form: Form, multiple: int = MULTIPLE) -> onnx.ModelProto:
    """A copy of a graph with every flat dense block in another form.

    Args:
        model: as a build writes it; blocks that are not flat stay as they are, and so do those of
            INT8 and FP8, whose convolutions read no concatenation.
        form: `flat` changes nothing. `nested`: each concatenation is of the one before and the new
            channels. `pass-through`: the first convolution copies the input's channels beside its
            own. `sums`: what convolves the input and what convolves the rest are added. `folded`:
            nested, with the residual in the last convolution's weights; pass-through where a block
            has none.
        multiple: pass-through: of channels, to which zeros pad the input.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    if form == "flat":
        return made
    editor = _Editor(made.graph)
    for block in find(made.graph):
        _FORMS[form](editor, block, multiple)
    editor.finish()
    return made


class _Editor:
    """Replaces nodes where they stand, and weights under their names."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.weights = {tensor.name: tensor for tensor in graph.initializer}
        self.instead: dict[str, list[onnx.NodeProto]] = {}

    def array(self, name: str) -> Array:
        return numpy_helper.to_array(self.weights[name])

    def set(self, name: str, array: Array) -> str:
        """A weight, new or in place of the one of that name."""
        tensor = numpy_helper.from_array(np.ascontiguousarray(array), name)
        if name not in self.weights:
            self.weights[name] = self.graph.initializer.add()
        self.weights[name].CopyFrom(tensor)
        return name

    def replace(self, node: onnx.NodeProto, *nodes: onnx.NodeProto) -> None:
        self.instead[node.name] = list(nodes)

    def finish(self) -> None:
        nodes = [new for node in self.graph.node for new in self.instead.get(node.name, [node])]
        del self.graph.value_info[:]  # shapes of before
        del self.graph.node[:]
        self.graph.node.extend(nodes)


def _nested(editor: _Editor, block: DenseBlock, _: int) -> None:
    for before, joined in zip(block.concatenations, block.concatenations[1:], strict=False):
        editor.replace(joined, _with_inputs(joined, before.output[0], joined.input[-1]))


def _folded(editor: _Editor, block: DenseBlock, multiple: int) -> None:
    last, residual = block.convolutions[-1], block.residual
    if residual is None:
        _pass_through(editor, block, multiple)
        return
    _nested(editor, block, multiple)
    weight = editor.array(last.input[1]).copy()
    outputs, _, height, width = weight.shape
    weight[range(outputs), range(outputs), height // 2, width // 2] += 1
    editor.set(last.input[1], weight)
    node = _with_inputs(last, *last.input)
    node.output[0] = residual.output[0]
    editor.replace(last, node)
    editor.replace(residual)


def _pass_through(editor: _Editor, block: DenseBlock, multiple: int) -> None:
    first, activation = block.convolutions[0], block.activations[0]
    weight, bias = (editor.array(name) for name in first.input[1:])
    new, channels, height, width = weight.shape
    held = -(-channels // multiple) * multiple
    passed = np.zeros((held, channels, height, width), weight.dtype)
    passed[range(channels), range(channels), height // 2, width // 2] = 1
    editor.set(first.input[1], np.concatenate([passed, weight]))
    editor.set(first.input[2], np.concatenate([np.zeros(held, bias.dtype), bias]))
    slope = np.full((1, held + new, 1, 1), activation.attribute[0].f, weight.dtype)
    slope[:, :held] = 1
    name, joined = activation.name, block.concatenations[0].output[0]
    slopes = editor.set(f"{name}/slopes", slope)
    below = f"{name}/Mul:0"
    editor.replace(
        activation,
        helper.make_node("Mul", [first.output[0], slopes], [below], f"{name}/Mul"),
        helper.make_node("Max", [first.output[0], below], [joined], f"{name}/Max"),
    )
    editor.replace(block.concatenations[0])
    for before, after in zip(block.concatenations, block.concatenations[1:], strict=False):
        editor.replace(after, _with_inputs(after, before.output[0], after.input[-1]))
    for node in block.convolutions[1:]:
        weight = editor.array(node.input[1])
        padding = np.zeros((len(weight), held - channels, height, width), weight.dtype)
        padded = [weight[:, :channels], padding, weight[:, channels:]]
        editor.set(node.input[1], np.concatenate(padded, 1))


def _sums(editor: _Editor, block: DenseBlock, _: int) -> None:
    channels = editor.array(block.convolutions[0].input[1]).shape[1]
    latest = block.activations[0].output[0]
    for index, joined in enumerate(block.concatenations):
        if index == 0:
            editor.replace(joined)
        else:
            editor.replace(joined, _with_inputs(joined, latest, joined.input[-1]))
            latest = joined.output[0]
        node = block.convolutions[index + 1]
        target = node
        if node is block.convolutions[-1] and block.residual is not None:
            target = block.residual
            editor.replace(node)
        editor.replace(target, *_sum(editor, node, block.x, latest, channels, target))


def _sum(
    editor: _Editor,
    node: onnx.NodeProto,
    x: str,
    rest: str,
    channels: int,
    target: onnx.NodeProto,
) -> Sequence[onnx.NodeProto]:
    """A convolution as two, of `x` and of the rest; the residual is added to the second first."""
    weight = editor.array(node.input[1])
    editor.set(node.input[1], weight[:, channels:])
    of_x = editor.set(f"{node.name}/x/weight", weight[:, :channels])
    parts = [f"{node.name}/{part}:0" for part in ("rest", "x")]
    second = _with_inputs(node, rest, *node.input[1:])
    second.output[0] = parts[0]
    first = _with_inputs(node, x, of_x)
    first.name, first.output[0] = f"{node.name}/x", parts[1]
    nodes = [second]
    if target is not node:
        with_residual = f"{node.name}/residual:0"
        nodes.append(helper.make_node("Add", [parts[0], x], [with_residual], target.name))
        parts[0] = with_residual
    add = helper.make_node("Add", parts, [target.output[0]], f"{node.name}/Add")
    return [*nodes, first, add]


def _with_inputs(node: onnx.NodeProto, *inputs: str) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    made.input[:] = inputs
    return made


_FORMS: dict[str, Callable[[_Editor, DenseBlock, int], None]] = {
    "nested": _nested,
    "pass-through": _pass_through,
    "sums": _sums,
    "folded": _folded,
}
