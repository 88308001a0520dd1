"""One graph of a bundle, from the reference to checked bytes: fold, trace, emit, compare."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir
import torch

from export import contract, graph, liveness, trace
from export.cases import Case
from export.check import check
from export.deploy import DeployFlow, ForwardFlow, InverseFlow
from export.flow import Direction
from export.rounding import run_rounded
from hcflow_ref.hcflow import HCFlow
from runtime.backends import open_session
from runtime.manifest import Graph, Numerics, Precision

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}
"""What the networks of a graph are computed in; the flow state is always float32."""

NUMERICS = Numerics(tf32=False, accumulation="float32", openvino_precision_hint="f32")
"""What every graph's parity figures assume of a backend."""


@dataclass(frozen=True)
class Artifact:
    """A graph's bytes and its entry in the manifest."""

    data: bytes
    entry: Graph


def build(
    model: HCFlow,
    checkpoint_sha256: str,
    direction: Direction,
    precision: Precision,
    with_latents: bool,
    cases: Sequence[Case],
) -> Artifact:
    """Build one graph and check it against the reference's answers.

    Args:
        model: the reference.
        checkpoint_sha256: digest of the file it came from, for the graph's metadata.
        direction: which way the graph runs.
        precision: of its networks.
        with_latents: whether an inverse takes latents (a forward always gives them).
        cases: what to check it on.
    """
    module = deploy(model, direction, precision, with_latents)
    traced = trace.trace(module)
    inputs, outputs = contract.boundary(model.config, direction, with_latents)
    metadata = {
        "hcflow.task": model.config.task,
        "hcflow.scale": str(model.config.scale),
        "hcflow.direction": direction,
        "hcflow.precision": precision,
        "hcflow.checkpoint_sha256": checkpoint_sha256,
        "hcflow.contract": str(contract.CONTRACT),
    }
    emitted = graph.to_onnx(traced, inputs, outputs, metadata)
    contract.check(emitted)
    data = ir.to_proto(emitted).SerializeToString(deterministic=True)
    session = open_session("onnxruntime", data, NUMERICS, 0)
    parity = check(session.run, cases, with_latents, precision)
    if precision != "fp32":
        rounded = functools.partial(run_rounded, traced, list(outputs))
        parity += check(rounded, cases, with_latents, precision, ", rounded")
    digest = hashlib.sha256(data).hexdigest()
    entry = Graph(
        direction=direction,
        precision=precision,
        latents=with_latents or direction == "forward",
        io="float32",
        contract=contract.CONTRACT,
        opset=graph.OPSET,
        file=f"{direction}.{precision}.{digest[:12]}.onnx",
        sha256=digest,
        bytes=len(data),
        nodes=len(emitted.graph),
        bytes_per_lr_pixel=liveness.bytes_per_lr_pixel(traced),
        numerics=NUMERICS,
        within_budget=all(row.ok for row in parity),
        parity=tuple(parity),
    )
    return Artifact(data, entry)


def deploy(
    model: HCFlow, direction: Direction, precision: Precision, with_latents: bool
) -> DeployFlow:
    """The deploy module of one direction, its networks rounded to the precision."""
    module = ForwardFlow(model) if direction == "forward" else InverseFlow(model, with_latents)
    return module.lower(DTYPES[precision]).eval()
