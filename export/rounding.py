"""An fp16 graph as a GPU computes it: rounded to float16 after every operator.

CPU runtimes compute a float16 chain in float32 and drop the casts between, so that neither its
error nor an overflow shows. This interpreter of a trace rounds wherever the graph says float16;
each operator accumulates in float32, as tensor cores do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.passes.shape_prop import TensorMetadata


class RoundingInterpreter(Interpreter):
    """Runs a trace on float32 tensors that hold float16 values; beyond 65504 they are infinite."""

    half = False
    """Whether the node at hand is float16."""

    def run_node(self, n: Node) -> Any:
        """The node's value, rounded where the trace says float16."""
        meta = n.meta.get("tensor_meta")
        self.half = isinstance(meta, TensorMetadata) and meta.dtype == torch.float16
        value = super().run_node(n)
        return value.half().float() if self.half else value

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A function whose scalar operands are float16, as the graph stores them."""
        scalars = tuple(float(np.float16(x)) if isinstance(x, float) else x for x in args)
        return super().call_function(target, scalars if self.half else args, kwargs)

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A convolution with its float16 weights."""
        conv = self.fetch_attr(str(target))
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        return F.conv2d(args[0], conv.weight.float(), conv.bias.float(), conv.stride, conv.padding)

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A cast changes nothing here: `run_node` rounds."""
        return args[0] if target == "to" else super().call_method(target, args, kwargs)


def run_rounded(
    traced: GraphModule, outputs: list[str], inputs: Mapping[str, np.ndarray[Any, Any]]
) -> dict[str, np.ndarray[Any, Any]]:
    """Outputs by name for inputs in the trace's order."""
    tensors = [torch.from_numpy(np.asarray(x)) for x in inputs.values()]
    with torch.no_grad():
        values = RoundingInterpreter(traced).run(*tensors)
    listed = [values] if isinstance(values, Tensor) else values
    return {name: value.numpy() for name, value in zip(outputs, listed, strict=True)}
