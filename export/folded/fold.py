"""A network → the deploy module of one direction, its networks rounded to a precision."""

from __future__ import annotations

from collections.abc import Container

import torch

from export.folded.hcflow import DeployFlow, ForwardFlow, InverseFlow
from export.folded.irn import DeployIRN, IRNForward, IRNInverse
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from runtime.bundle.manifest import Direction, Precision

DTYPES: dict[Precision, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "int8": torch.float16,
}
"""dtype of a graph's networks, INT8 aside; the flow state is always float32."""


def deploy(
    model: HCFlow | IRN,
    direction: Direction,
    precision: Precision,
    with_latents: bool,
    keep: Container[str] = (),
) -> DeployFlow | DeployIRN:
    """The deploy module of one direction, its networks but `keep` rounded to the precision."""
    module: DeployFlow | DeployIRN
    if isinstance(model, IRN):
        module = IRNForward(model) if direction == "forward" else IRNInverse(model, with_latents)
    else:
        module = ForwardFlow(model) if direction == "forward" else InverseFlow(model, with_latents)
    return module.lower(DTYPES[precision], keep).eval()
