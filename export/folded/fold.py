"""Which graph is wanted, and the network folded for it: the deploy module of one direction."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import torch

from export.folded.couplings import LowPrecision
from export.folded.hcflow import DeployFlow, ForwardFlow, InverseFlow
from export.folded.irn import DeployIRN, IRNForward, IRNInverse
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from runtime.bundle.manifest import Direction, Graph, Precision, Target

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "int8": torch.float16,
    "fp8": torch.float16,
}
"""dtype of a graph's networks, INT8 and FP8 aside; the flow state is always float32."""


@dataclass(frozen=True)
class GraphSpec:
    """Which graph of a network; a bundle holds one graph of each specification.

    Attributes:
        direction: `inverse` upscales, `forward` downscales.
        precision: of its networks.
        latents: whether it takes (inverse) or gives (forward) z1 … zL.
        io: dtype of the images at its boundary, `float32` or `uint8`.
        target: what it is made for; None is any machine.
    """

    direction: Direction
    precision: Precision = "fp32"
    latents: bool = True
    io: str = "float32"
    target: Target | None = None

    @classmethod
    def of(cls, graph: Graph) -> GraphSpec:
        """The specification of a graph in a manifest."""
        return cls(graph.direction, graph.precision, graph.latents, graph.io, graph.target)


def deploy(
    model: HCFlow | IRN, spec: GraphSpec, keep: Container[str] = ()
) -> DeployFlow | DeployIRN:
    """The deploy module of a graph, its networks rounded to the precision, those in `keep` not."""
    module: DeployFlow | DeployIRN
    forward = spec.direction == "forward"
    if isinstance(model, IRN):
        module = IRNForward(model) if forward else IRNInverse(model, spec.latents)
    else:
        module = ForwardFlow(model) if forward else InverseFlow(model, spec.latents)
    for name, part in module.named_modules():
        if isinstance(part, LowPrecision) and name not in keep:
            part.lower(DTYPES[spec.precision])
    return module.eval()
