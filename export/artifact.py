"""One graph of a bundle, from the reference to checked bytes: fold, trace, emit, compare."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass
from torch.fx import GraphModule

from calib.qdq import place
from export.checks.parity import check
from export.checks.reference_cases import Case
from export.folded.fold import GraphSpec, deploy
from export.graph import contract, emit, liveness, trace, uint8_boundary
from export.precision import report
from export.precision.emulation import emulate
from export.precision.evaluation import MOST_LOSS_DB
from export.precision.lower import Lowered
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from runtime.backends import open_session
from runtime.bundle import uint8_images
from runtime.bundle.manifest import Graph, Loss, Numerics, Precision
from runtime.bundle.uint8_images import IO

NUMERICS = Numerics(tf32=False, accumulation="float32", openvino_precision_hint="f32")
"""Numerics that every graph's parity figures assume of a backend."""


@dataclass(frozen=True)
class Artifact:
    """A graph's bytes and its entry in the manifest."""

    data: bytes
    entry: Graph
    files: Mapping[str, bytes] = field(default_factory=dict)
    """The report's files, by name."""
    lowered: Lowered | None = field(default=None, repr=False)
    """What a precision below fp32 was made of, for its report."""
    traced: GraphModule | None = field(default=None, repr=False)
    """The trace that the graph was emitted from."""
    lr_alone: bytes | None = field(default=None, repr=False)
    """Of a forward graph, the one that gives its LR image alone, where that costs far less."""

    @property
    def image_graph(self) -> bytes:
        """The graph that gives the same image as `data` for the least work."""
        return self.data if self.lr_alone is None else self.lr_alone


def build(
    model: HCFlow | IRN,
    checkpoint_sha256: str,
    spec: GraphSpec,
    cases: Sequence[Case],
    lowered: Lowered | None = None,
) -> Artifact:
    """Build one graph with a float32 boundary and check it against the reference's answers.

    Args:
        model: the reference.
        checkpoint_sha256: digest of the file it came from, for the graph's metadata.
        spec: which graph.
        cases: what to check it on.
        lowered: for a precision below fp32, what `export.precision.lower` made of the network.
    """
    traced = trace.trace(deploy(model, spec)) if lowered is None else lowered.traced
    metadata = {
        "hcflow.task": model.config.task,
        "hcflow.scale": str(model.config.scale),
        "hcflow.direction": spec.direction,
        "hcflow.precision": spec.precision,
        "hcflow.checkpoint_sha256": checkpoint_sha256,
        "hcflow.contract": str(contract.CONTRACT),
    }
    emitted = emit.to_onnx(traced, model.config, spec, metadata)
    int8 = lowered.int8 if lowered else None
    if int8:
        place(emitted, int8.ranges, int8.largest, int8.encoding)
    contract.check(emitted)
    data = ir.to_proto(emitted).SerializeToString(deterministic=True)
    session = open_session("onnxruntime", data, NUMERICS, 0)
    parity = check(session.run, cases, spec)
    if spec.precision != "fp32":
        emulated = functools.partial(
            emulate,
            traced,
            list(contract.boundary(model.config, spec)[1]),
            quantised=int8.quantised if int8 else None,
        )
        parity += check(emulated, cases, spec, ", rounded")
    digest = hashlib.sha256(data).hexdigest()
    losses = lowered.losses if lowered else ()
    entry = Graph(
        direction=spec.direction,
        precision=spec.precision,
        latents=spec.latents,
        io=spec.io,
        contract=contract.CONTRACT,
        opset=emit.OPSET,
        file=_file_name(spec, digest),
        sha256=digest,
        bytes=len(data),
        nodes=len(emitted.graph),
        bytes_per_lr_pixel=liveness.bytes_per_lr_pixel(traced),
        numerics=NUMERICS,
        within_budget=all(row.ok for row in parity) and not too_lossy(spec.precision, losses),
        parity=tuple(parity),
        casts=_casts(emitted),
        losses=losses,
        target=spec.target,
    )
    built = _with_report(data, entry, lowered, checkpoint_sha256)
    alone = _lr_alone(data) if spec.direction == "forward" else None
    return replace(built, traced=traced, lr_alone=alone)


WORTH_A_GRAPH = 0.9
"""A graph that gives the LR image alone has at most this share of the other's bytes."""


def _lr_alone(data: bytes) -> bytes | None:
    """A forward graph's bytes without latents and `logp`, and without what computes them.

    Of HCFlow that is the conditional flows, which do most of the work; of an IRN next to nothing,
    so that it gets no such graph.
    """
    emitted = ir.from_proto(onnx.load_from_string(data))
    emitted.graph.outputs[:] = emitted.graph.outputs[:1]
    RemoveUnusedNodesPass()(emitted)
    contract.check(emitted)
    alone: bytes = ir.to_proto(emitted).SerializeToString(deterministic=True)
    return alone if len(alone) <= WORTH_A_GRAPH * len(data) else None


def build_lr_alone(built: Artifact, cases: Sequence[Case]) -> Artifact | None:
    """The forward graph of an artifact that gives its LR image alone; None where it has none.

    Args:
        built: a forward graph with a float32 boundary; its border and grids hold for the other too.
        cases: inputs and the reference's outputs.
    """
    data = built.lr_alone
    if data is None:
        return None
    assert built.traced is not None
    emitted = ir.from_proto(onnx.load_from_string(data))
    session = open_session("onnxruntime", data, NUMERICS, 0)
    parity = check(session.run, cases, replace(GraphSpec.of(built.entry), latents=False))
    digest = hashlib.sha256(data).hexdigest()
    entry = replace(
        built.entry,
        latents=False,
        file=_file_name(GraphSpec.of(built.entry), digest),
        sha256=digest,
        bytes=len(data),
        nodes=len(emitted.graph),
        bytes_per_lr_pixel=liveness.bytes_per_lr_pixel(liveness.first_output_alone(built.traced)),
        casts=_casts(emitted),
        parity=tuple(parity),
        within_budget=built.entry.within_budget and all(row.ok for row in parity),
    )
    return Artifact(data, entry, lowered=built.lowered)  # its report is the other graph's


def build_uint8(built: Artifact, cases: Sequence[Case]) -> Artifact:
    """The graph of an artifact with a uint8 boundary, checked where the cases are of 8 bits.

    A forward graph gives the image alone: latents and `logp` are left out, and what computes them.

    Args:
        built: a graph with a float32 boundary; its grid of tiles holds for the other one too.
        cases: inputs and the reference's outputs.
    """
    entry = built.entry
    emitted = uint8_boundary.convert(built.data)
    contract.check(emitted, IO)
    data = ir.to_proto(emitted).SerializeToString(deterministic=True)
    session = open_session("onnxruntime", data, NUMERICS, 0)
    spec = replace(GraphSpec.of(entry), io=IO)
    parity = check(lambda feeds: uint8_images.run(session.run, feeds), cases, spec)
    digest = hashlib.sha256(data).hexdigest()
    entry = replace(
        entry,
        io=IO,
        latents=entry.latents and entry.direction == "inverse",
        file=_file_name(spec, digest),
        sha256=digest,
        bytes=len(data),
        nodes=len(emitted.graph),
        casts=_casts(emitted),
        parity=tuple(parity),
        within_budget=entry.within_budget and all(row.ok for row in parity),
    )
    checkpoint_sha256 = emitted.metadata_props["hcflow.checkpoint_sha256"]
    return _with_report(data, entry, built.lowered, checkpoint_sha256)


def _file_name(spec: GraphSpec, digest: str) -> str:
    parts = [spec.direction, spec.precision, spec.target or "", spec.io]
    return ".".join(part for part in parts if part not in ("", "float32")) + f".{digest[:12]}.onnx"


def _casts(graph: ir.Model) -> int:
    return sum(node.op_type == "Cast" for node in graph.graph)


def _with_report(
    data: bytes, entry: Graph, lowered: Lowered | None, checkpoint_sha256: str
) -> Artifact:
    if lowered is None:
        return Artifact(data, entry)
    written = report.files(entry, lowered, checkpoint_sha256)
    return Artifact(data, replace(entry, report=next(iter(written))), written, lowered)


def too_lossy(precision: Precision, losses: Sequence[Loss]) -> list[Loss]:
    """Photographs on which fp16 costs more than its budget; int8 has its hold-out instead."""
    if precision != "fp16":
        return []
    return [row for row in losses if not row.loss_db <= MOST_LOSS_DB["fp16"]]
