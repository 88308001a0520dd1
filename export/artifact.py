"""One graph of a bundle, from the reference to checked bytes: fold, trace, emit, compare."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from calib.qdq import place
from export.checks.parity import check
from export.checks.reference_cases import Case
from export.folded.fold import deploy
from export.graph import contract, emit, liveness, trace, uint8_boundary
from export.precision import report
from export.precision.emulation import run_rounded
from export.precision.evaluation import MOST_LOSS_DB
from export.precision.lower import Lowered
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from runtime.backends import open_session
from runtime.bundle import uint8_images
from runtime.bundle.manifest import Direction, Graph, Loss, Numerics, Precision
from runtime.bundle.uint8_images import IO

NUMERICS = Numerics(tf32=False, accumulation="float32", openvino_precision_hint="f32")
"""What every graph's parity figures assume of a backend."""


@dataclass(frozen=True)
class Artifact:
    """A graph's bytes and its entry in the manifest."""

    data: bytes
    entry: Graph
    files: Mapping[str, bytes] = field(default_factory=dict)
    """The report's, by name."""
    lowered: Lowered | None = field(default=None, repr=False)
    """What the report tells of, below fp32."""


def build(
    model: HCFlow | IRN,
    checkpoint_sha256: str,
    direction: Direction,
    precision: Precision,
    with_latents: bool,
    cases: Sequence[Case],
    lowered: Lowered | None = None,
) -> Artifact:
    """Build one graph and check it against the reference's answers.

    Args:
        model: the reference.
        checkpoint_sha256: digest of the file it came from, for the graph's metadata.
        direction: which way the graph runs.
        precision: of its networks.
        with_latents: whether an inverse takes latents (a forward always gives them).
        cases: what to check it on.
        lowered: for a precision below fp32, what `precision_build.lower` made of the network.
    """
    if lowered is None:
        traced = trace.trace(deploy(model, direction, precision, with_latents))
    else:
        traced = lowered.traced
    inputs, outputs = contract.boundary(model.config, direction, with_latents)
    metadata = {
        "hcflow.task": model.config.task,
        "hcflow.scale": str(model.config.scale),
        "hcflow.direction": direction,
        "hcflow.precision": precision,
        "hcflow.checkpoint_sha256": checkpoint_sha256,
        "hcflow.contract": str(contract.CONTRACT),
    }
    emitted = emit.to_onnx(traced, inputs, outputs, metadata)
    int8 = lowered.int8 if lowered else None
    if int8:
        place(emitted, int8.ranges, int8.largest)
    contract.check(emitted)
    data = ir.to_proto(emitted).SerializeToString(deterministic=True)
    session = open_session("onnxruntime", data, NUMERICS, 0)
    parity = check(session.run, cases, with_latents, precision)
    if precision != "fp32":
        rounded = functools.partial(
            run_rounded, traced, list(outputs), quantised=int8.quantised if int8 else None
        )
        parity += check(rounded, cases, with_latents, precision, ", rounded")
    digest = hashlib.sha256(data).hexdigest()
    entry = Graph(
        direction=direction,
        precision=precision,
        latents=with_latents or direction == "forward",
        io="float32",
        contract=contract.CONTRACT,
        opset=emit.OPSET,
        file=f"{direction}.{precision}.{digest[:12]}.onnx",
        sha256=digest,
        bytes=len(data),
        nodes=len(emitted.graph),
        bytes_per_lr_pixel=liveness.bytes_per_lr_pixel(traced),
        numerics=NUMERICS,
        within_budget=all(row.ok for row in parity),
        parity=tuple(parity),
        casts=sum(node.op_type == "Cast" for node in emitted.graph),
    )
    if lowered is None:
        return Artifact(data, entry)
    entry = replace(
        entry,
        losses=lowered.losses,
        within_budget=entry.within_budget and not too_lossy(precision, lowered.losses),
    )
    written = report.files(entry, lowered, checkpoint_sha256)
    return Artifact(data, replace(entry, report=next(iter(written))), written, lowered)


def build_uint8(built: Artifact, cases: Sequence[Case], with_latents: bool) -> Artifact:
    """The graph of an artifact with a uint8 boundary, checked where the cases are of 8 bits.

    A forward graph gives the image alone: latents and `logp` are left out, and what computes them.

    Args:
        built: a graph with a float32 boundary; its grid of tiles holds for the other one too.
        cases: inputs and the reference's outputs.
        with_latents: whether an inverse takes latents.
    """
    entry = built.entry
    emitted = uint8_boundary.convert(built.data)
    contract.check(emitted, IO)
    data = ir.to_proto(emitted).SerializeToString(deterministic=True)
    session = open_session("onnxruntime", data, NUMERICS, 0)
    parity = check(
        lambda feeds: uint8_images.run(session.run, feeds),
        cases,
        with_latents,
        entry.precision,
        io=IO,
    )
    digest = hashlib.sha256(data).hexdigest()
    made = replace(
        entry,
        io=IO,
        latents=entry.latents and entry.direction == "inverse",
        file=f"{entry.direction}.{entry.precision}.{IO}.{digest[:12]}.onnx",
        sha256=digest,
        bytes=len(data),
        nodes=len(emitted.graph),
        casts=sum(node.op_type == "Cast" for node in emitted.graph),
        parity=tuple(parity),
        within_budget=entry.within_budget and all(row.ok for row in parity),
    )
    if built.lowered is None:
        return Artifact(data, made)
    checkpoint_sha256 = emitted.metadata_props["hcflow.checkpoint_sha256"]
    written = report.files(made, built.lowered, checkpoint_sha256)
    return Artifact(data, replace(made, report=next(iter(written))), written, built.lowered)


def too_lossy(precision: Precision, losses: Sequence[Loss]) -> list[Loss]:
    """Photographs on which fp16 costs more than its budget; int8 is judged on its hold-out."""
    if precision != "fp16":
        return []
    return [row for row in losses if not row.loss_db <= MOST_LOSS_DB["fp16"]]
