"""Deploy module → torch.fx trace, with the dtype and shape of every value."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.fx import PH, GraphModule, Node, Tracer  # type: ignore[attr-defined]  # re-exported
from torch.fx.graph import CodeGen
from torch.fx.passes.shape_prop import ShapeProp

from export.folded.hcflow import DeployFlow, InverseFlow
from export.folded.irn import DeployIRN, IRNInverse


class _Tracer(Tracer):
    """Convolutions are leaves; everything else is traced into."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d)


class _MetaShapes(ShapeProp):
    """Records shapes and dtypes without computing a value."""

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A constant of shape alone."""
        return super().get_attr(target, args, kwargs).to("meta")

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """A convolution of shapes alone."""
        conv = self.fetch_attr(str(target))
        assert isinstance(conv, nn.Conv2d)
        weight, bias = conv.weight.to("meta"), conv.bias
        assert bias is not None
        return F.conv2d(args[0], weight, bias.to("meta"), conv.stride, conv.padding)


def example_inputs(module: DeployFlow | DeployIRN, side: int) -> list[torch.Tensor]:
    """Inputs without values in the graph contract's order, for an LR of `side` × `side`."""
    config = module.config

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(1, *shape, device="meta")

    if not isinstance(module, InverseFlow | IRNInverse):
        return [empty(3, side * config.scale, side * config.scale)]
    latents = config.latent_shapes(side, side) if module.with_latents else ()
    return [empty(*shape) for shape in ((3, side, side), *latents)]


def trace(module: DeployFlow | DeployIRN, side: int = 8) -> GraphModule:
    """Trace a deploy module; `meta["tensor_meta"]` holds shapes for an LR of `side` × `side`."""
    inputs = example_inputs(module, side)
    concrete: dict[str, Any] | None = None
    if isinstance(module, InverseFlow | IRNInverse):
        concrete = {"latents": tuple(PH for _ in inputs[1:])}
    traced = GraphModule(module, _Tracer().trace(module, concrete))
    traced.graph.set_codegen(CodeGen())  # flat arguments, as the graph has them
    traced.graph.eliminate_dead_code()  # log-scales that no likelihood needs
    with torch.no_grad():
        _MetaShapes(traced).propagate(*inputs)
    return traced


def convolution(traced: GraphModule, node: Node) -> nn.Conv2d:
    """The module that a `call_module` of a trace calls: convolutions are its only leaves."""
    conv = traced.get_submodule(str(node.target))
    assert isinstance(conv, nn.Conv2d)
    return conv


def dtype(node: Node) -> torch.dtype:
    """Dtype of a traced value."""
    found: torch.dtype = node.meta["tensor_meta"].dtype
    return found


def scope(node: Node) -> str:
    """Path of the innermost module that a traced operation came from, `level0/steps/3`."""
    stack = node.meta.get("nn_module_stack") or {"": None}
    return str(next(reversed(stack))).replace(".", "/")
