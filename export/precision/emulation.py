"""A graph below fp32 as a GPU computes it: rounded to float16 after every operator, with 8 bits.

CPU runtimes compute a float16 chain in float32 and drop the casts between, so that neither its
error nor an overflow shows. This emulation of a trace rounds wherever the graph says float16;
each operator accumulates in float32, as tensor cores do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.passes.shape_prop import TensorMetadata

from calib.encodings import FP8, INT8, LARGEST_E4M3, Encoding

Observer = Callable[[Node, Tensor], None]
"""Called with every traced value as it is computed."""


@dataclass(frozen=True)
class Quantised:
    """One convolution in 8 bits: its input's scale and encoding, its weights as they come back."""

    scale: float
    weight: Tensor
    encoding: Encoding = INT8

    def rounded(self, x: Tensor) -> Tensor:
        """Values of the input as they come back from 8 bits."""
        steps = x / self.scale
        if self.encoding is FP8:
            kept = torch.clamp(steps, -LARGEST_E4M3, LARGEST_E4M3).to(torch.float8_e4m3fn)
            return kept.float() * self.scale
        return torch.clamp(torch.round(steps), -128, 127) * self.scale


class Emulator(Interpreter):
    """Runs a trace on float32 tensors that hold float16 values; beyond 65504 they are infinite.

    Args:
        module: the trace.
        quantised: convolutions in INT8, by path with dots.
        observe: called with each value.
        rounding: `False` keeps values in float32; weights stay the graph's.
    """

    half = False
    """Whether the node at hand is float16."""

    def __init__(
        self,
        module: GraphModule,
        quantised: Mapping[str, Quantised] | None = None,
        observe: Observer | None = None,
        rounding: bool = True,
    ) -> None:
        super().__init__(module)
        self.quantised = quantised or {}
        self.observe = observe
        self.rounding = rounding

    def run_node(self, n: Node) -> Any:
        """The node's value, rounded where the trace says float16."""
        meta = n.meta.get("tensor_meta")
        is_half = isinstance(meta, TensorMetadata) and meta.dtype == torch.float16
        self.half = is_half and self.rounding
        value = super().run_node(n)
        if n.op == "get_attr":
            return value.float()
        if self.half:
            value = value.half().float()
        if self.observe is not None and isinstance(value, Tensor):
            self.observe(n, value)
        return value

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A function whose scalar operands are float16, as the graph stores them."""
        scalars = tuple(float(np.float16(x)) if isinstance(x, float) else x for x in args)
        return super().call_function(target, scalars if self.half else args, kwargs)

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A convolution with its float16 weights, or in INT8."""
        conv = self.fetch_attr(str(target))
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        x, weight = args[0], conv.weight.float()
        if low := self.quantised.get(str(target)):
            x = low.rounded(x)
            x, weight = (x.half().float() if self.half else x), low.weight
        return F.conv2d(x, weight, conv.bias.float(), conv.stride, conv.padding)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A cast changes nothing here: `run_node` rounds."""
        return args[0] if target == "to" else super().call_method(target, args, kwargs)


def emulate(
    traced: GraphModule,
    outputs: list[str],
    inputs: Mapping[str, np.ndarray[Any, Any]],
    quantised: Mapping[str, Quantised] | None = None,
    observe: Observer | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """Outputs by name for inputs in the trace's order; the rest as `Emulator`."""
    with torch.no_grad():
        values = Emulator(traced, quantised, observe).run(*_tensors(inputs))
    return _named(outputs, values)


class Replay:
    """Runs a trace on the same inputs again and again, and computes only what a change reaches.

    Args:
        traced: the trace; nothing is rounded to float16.
        outputs: names of what it gives.
        inputs: in its order.
    """

    def __init__(
        self,
        traced: GraphModule,
        outputs: list[str],
        inputs: Mapping[str, np.ndarray[Any, Any]],
    ) -> None:
        self._traced, self._outputs = traced, outputs
        self._inputs = _tensors(inputs)
        first = Emulator(traced, rounding=False)
        first.garbage_collect_values = False
        with torch.no_grad():
            first.run(*self._inputs)
        self._values = dict(first.env)

    def __call__(self, quantised: Mapping[str, Quantised]) -> dict[str, np.ndarray[Any, Any]]:
        """Outputs by name with these convolutions in INT8."""
        changed: set[Node] = set()
        for node in self._traced.graph.nodes:
            low = node.op == "call_module" and str(node.target) in quantised
            if low or node.op == "output" or not changed.isdisjoint(node.all_input_nodes):
                changed.add(node)
        kept = {node: value for node, value in self._values.items() if node not in changed}
        again = Emulator(self._traced, quantised, rounding=False)
        with torch.no_grad():
            values = again.run(*self._inputs, initial_env=kept)
        return _named(self._outputs, values)


def _tensors(inputs: Mapping[str, np.ndarray[Any, Any]]) -> list[Tensor]:
    return [torch.from_numpy(np.asarray(x)) for x in inputs.values()]


def _named(
    outputs: list[str], values: Tensor | Sequence[Tensor]
) -> dict[str, np.ndarray[Any, Any]]:
    """What a trace returned, which is no sequence where there is one output."""
    listed = [values] if isinstance(values, Tensor) else values
    return {name: value.numpy() for name, value in zip(outputs, listed, strict=True)}
