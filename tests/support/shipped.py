"""Shipped models as bundles in every precision, quickly: for comparing runtimes, not pictures.

Nothing is checked, calibrated or certified: INT8 gets one range for every convolution, and the grid
of tiles is a small one, so that a small image has many.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from calib.encodings import LARGEST_SEVEN_BITS
from calib.qdq import place
from export import artifact, bundle_writer
from export.artifact import Artifact
from export.folded.fold import GraphSpec, deploy
from export.graph import emit, trace
from hcflow.models import shipped
from hcflow_ref.checkpoint import load
from runtime.bundle.manifest import DIRECTIONS, Direction, Graph

TILE, OVERLAP = 12, 4
RANGE = 8.0
"""Magnitude up to which an INT8 convolution's input is told apart."""


def write(folder: Path, name: str) -> Path:
    """Write a shipped model's bundle: both directions in fp32, fp16 and int8."""
    loaded = load.load(shipped.weights()[name])
    built = [made for way in DIRECTIONS for made in _artifacts(loaded, way)]
    bundle_writer.write(folder, name, loaded, loaded.default_tau, built, [])
    return folder


def _artifacts(loaded: load.Checkpoint, direction: Direction) -> Iterator[Artifact]:
    network = loaded.network
    exact = artifact.build(network, loaded.sha256, GraphSpec(direction), [])
    entry = replace(exact.entry, tile=TILE, overlap=OVERLAP)
    yield Artifact(exact.data, entry)
    spec = GraphSpec(direction, "fp16")
    model = emit.to_onnx(trace.trace(deploy(network, spec)), network.config, spec)
    yield _named(model, replace(entry, precision="fp16"))
    names = [node.name or "" for node in model.graph if _is_half_convolution(node)]
    place(model, dict.fromkeys(names, RANGE), dict.fromkeys(names, LARGEST_SEVEN_BITS))
    yield _named(model, replace(entry, precision="int8"))


def _named(model: ir.Model, entry: Graph) -> Artifact:
    data = ir.to_proto(model).SerializeToString(deterministic=True)
    digest = hashlib.sha256(data).hexdigest()
    file = f"{entry.direction}.{entry.precision}.{digest[:12]}.onnx"
    return Artifact(data, replace(entry, file=file, sha256=digest, bytes=len(data)))


def _is_half_convolution(node: ir.Node) -> bool:
    weight = node.inputs[1].const_value if node.op_type == "Conv" and node.inputs[1] else None
    return weight is not None and weight.numpy().dtype == np.float16
