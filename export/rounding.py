"""A graph below fp32 as a GPU computes it: rounded to float16 after every operator, INT8 and all.

CPU runtimes compute a float16 chain in float32 and drop the casts between, so that neither its
error nor an overflow shows. This interpreter of a trace rounds wherever the graph says float16;
each operator accumulates in float32, as tensor cores do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.passes.shape_prop import TensorMetadata

Observer = Callable[[Node, Tensor], None]
"""Told every traced value as it is computed."""


@dataclass(frozen=True)
class Quantised:
    """One convolution in INT8: the scale of its input, and its weights as they come back."""

    scale: float
    weight: Tensor


class RoundingInterpreter(Interpreter):
    """Runs a trace on float32 tensors that hold float16 values; beyond 65504 they are infinite.

    Args:
        module: the trace.
        quantised: convolutions in INT8, by path with dots.
        observe: told each value.
    """

    half = False
    """Whether the node at hand is float16."""

    def __init__(
        self,
        module: GraphModule,
        quantised: Mapping[str, Quantised] | None = None,
        observe: Observer | None = None,
    ) -> None:
        super().__init__(module)
        self.quantised = quantised or {}
        self.observe = observe

    def run_node(self, n: Node) -> Any:
        """The node's value, rounded where the trace says float16."""
        meta = n.meta.get("tensor_meta")
        self.half = isinstance(meta, TensorMetadata) and meta.dtype == torch.float16
        value = super().run_node(n)
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
            x = torch.clamp(torch.round(x / low.scale), -128, 127) * low.scale
            x, weight = (x.half().float() if self.half else x), low.weight
        return F.conv2d(x, weight, conv.bias.float(), conv.stride, conv.padding)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A cast changes nothing here: `run_node` rounds."""
        return args[0] if target == "to" else super().call_method(target, args, kwargs)


def run_rounded(
    traced: GraphModule,
    outputs: list[str],
    inputs: Mapping[str, np.ndarray[Any, Any]],
    quantised: Mapping[str, Quantised] | None = None,
    observe: Observer | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """Outputs by name for inputs in the trace's order; the rest as `RoundingInterpreter`."""
    tensors = [torch.from_numpy(np.asarray(x)) for x in inputs.values()]
    with torch.no_grad():
        values = RoundingInterpreter(traced, quantised, observe).run(*tensors)
    listed = [values] if isinstance(values, Tensor) else values
    return {name: value.numpy() for name, value in zip(outputs, listed, strict=True)}
