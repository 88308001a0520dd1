"""A tiny real bundle: a linear bijection as ONNX graphs, so that every expectation is exact.

One invertible 48×48 matrix maps each 4×4×3 block of the HR image to its mean colour (`lr`) and 45
coefficients, laid out as the latents of the ×4 networks: z1 6 channels at 2×, z2 21 at 1×.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from runtime.bundle.manifest import (
    Checkpoint,
    Graph,
    Latents,
    Level,
    Manifest,
    Numerics,
    Parity,
    Vectors,
)
from runtime.latents import SCHEME

SCALE = 4
LEVELS = (Level(6, 2), Level(21, 1))


def _matrix() -> NDArray[np.float64]:
    """Rows: 3 means, then orthonormal rows to them; columns: pixels of a block, channel first."""
    means = np.kron(np.eye(3), np.ones((1, 16)) / 4)
    rest = np.random.default_rng(0).standard_normal((45, 48))
    orthonormal = np.linalg.qr(np.vstack([means, rest]).T)[0].T
    orthonormal[:3] = means
    return np.concatenate([orthonormal[:3] / 4, orthonormal[3:]])


MATRIX = _matrix()
INVERSE = np.linalg.inv(MATRIX)


def reference_forward(hr: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    n, _, height, width = hr.shape
    h, w = height // SCALE, width // SCALE
    blocks = hr.astype(np.float64).reshape(n, 3, h, 4, w, 4).transpose(0, 1, 3, 5, 2, 4)
    codes = np.einsum("ok,nkhw->nohw", MATRIX, blocks.reshape(n, 48, h, w))
    z1 = codes[:, 24:].reshape(n, 6, 2, 2, h, w).transpose(0, 1, 4, 2, 5, 3)
    return {"lr": codes[:, :3], "z1": z1.reshape(n, 6, 2 * h, 2 * w), "z2": codes[:, 3:24]}


def reference_inverse(
    lr: NDArray[Any], z1: NDArray[Any] | None = None, z2: NDArray[Any] | None = None
) -> NDArray[np.float64]:
    n, _, h, w = lr.shape
    codes = np.zeros((n, 48, h, w))
    codes[:, :3] = lr
    if z1 is not None and z2 is not None:
        codes[:, 3:24] = z2
        fine = z1.reshape(n, 6, h, 2, w, 2).transpose(0, 1, 3, 5, 2, 4)
        codes[:, 24:] = fine.reshape(n, 24, h, w)
    blocks = np.einsum("ok,nkhw->nohw", INVERSE, codes).reshape(n, 3, 4, 4, h, w)
    return blocks.transpose(0, 1, 4, 2, 5, 3).reshape(n, 3, 4 * h, 4 * w)


def _image(name: str, channels: int = 3) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        name, TensorProto.FLOAT, ["N", channels, f"H_{name}", f"W_{name}"]
    )


def _serialise(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: dict[str, NDArray[Any]],
) -> bytes:
    constants = [
        numpy_helper.from_array(w.astype(np.float32) if w.dtype.kind == "f" else w, name)
        for name, w in weights.items()
    ]
    graph = helper.make_graph(list(nodes), "tiny", list(inputs), list(outputs), constants)
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def inverse_graph(latents: bool, gain: float = 1.0) -> bytes:
    """`gain` multiplies the output; 1e39 makes a graph that overflows."""
    columns = slice(None) if latents else slice(3)
    weights = {"w": gain * INVERSE[:, columns, None, None]}
    out = helper.make_node("DepthToSpace", ["code"], ["hr"], blocksize=4, mode="CRD")
    if not latents:
        conv = helper.make_node("Conv", ["lr", "w"], ["code"])
        return _serialise([conv, out], [_image("lr")], [_image("hr")], weights)
    # SpaceToDepth is block-major; the 24 columns of z1 are reordered to match.
    order = [3 + c for c in range(21)]
    order += [24 + c * 4 + block for block in range(4) for c in range(6)]
    weights["w"] = weights["w"][:, [0, 1, 2, *order]]
    nodes = [
        helper.make_node("SpaceToDepth", ["z1"], ["fine"], blocksize=2),
        helper.make_node("Concat", ["lr", "z2", "fine"], ["codes"], axis=1),
        helper.make_node("Conv", ["codes", "w"], ["code"]),
        out,
    ]
    inputs = [_image("lr"), _image("z1", 6), _image("z2", 21)]
    return _serialise(nodes, inputs, [_image("hr")], weights)


def forward_graph(sr: bool = False) -> bytes:
    rows = {"w_lr": MATRIX[:3], "w_z2": MATRIX[3:24], "w_z1": MATRIX[24:]}
    weights: dict[str, NDArray[Any]] = {k: v.reshape(-1, 3, 4, 4) for k, v in rows.items()}
    nodes = [
        helper.make_node("Conv", ["hr", "w_lr"], ["lr"], strides=[4, 4]),
        helper.make_node("Conv", ["hr", "w_z2"], ["z2"], strides=[4, 4]),
        helper.make_node("Conv", ["hr", "w_z1"], ["fine"], strides=[4, 4]),
        helper.make_node("DepthToSpace", ["fine"], ["z1"], blocksize=2, mode="CRD"),
    ]
    outputs = [_image("lr"), _image("z1", 6), _image("z2", 21)]
    if sr:
        nodes.append(helper.make_node("ReduceSum", ["z2", "axes"], ["logp"], keepdims=0))
        outputs.append(helper.make_tensor_value_info("logp", TensorProto.FLOAT, ["N"]))
        weights["axes"] = np.array([1, 2, 3])
    return _serialise(nodes, [_image("hr")], outputs, weights)


def vector_arrays() -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(1)
    hr = random.random((1, 3, 12, 8), np.float32)
    forward = reference_forward(hr)
    arrays: dict[str, NDArray[Any]] = {
        "forward/noise/in/hr": hr,
        "forward/noise/tau": np.array(0.0),
    }
    arrays |= {f"forward/noise/out/{name}": value for name, value in forward.items()}
    for case, tau in (("calm", 0.0), ("lively", 1.0)):
        inputs = {"lr": random.random((2, 3, 3, 5), np.float32)}
        if tau:
            inputs["z1"] = random.standard_normal((2, 6, 6, 10), np.float32)
            inputs["z2"] = random.standard_normal((2, 21, 3, 5), np.float32)
        arrays |= {f"inverse/{case}/in/{name}": value for name, value in inputs.items()}
        arrays[f"inverse/{case}/out/hr"] = reference_inverse(**inputs)
        arrays[f"inverse/{case}/tau"] = np.array(tau)
    return arrays


def _entry(direction: Any, data: bytes, latents: bool, precision: Any = "fp32") -> Graph:
    digest = hashlib.sha256(data).hexdigest()
    return Graph(
        direction=direction,
        precision=precision,
        latents=latents,
        io="float32",
        contract=1,
        opset=20,
        file=f"{direction}.{precision}.{digest[:12]}.onnx",
        sha256=digest,
        bytes=len(data),
        nodes=4,
        bytes_per_lr_pixel=1000,
        numerics=Numerics(tf32=False, accumulation="float32", openvino_precision_hint="f32"),
        within_budget=True,
        parity=(Parity("noise", 0.0, "hr", 140.0, 1e-7, 1e-7, True),),
    )


def write_bundle(
    folder: Path,
    *,
    latents: bool = True,
    directions: Sequence[str] = ("inverse", "forward"),
    default_tau: float = 0.0,
    sr: bool = False,
    gain: float = 1.0,
    **graph_changes: Any,
) -> Path:
    """Write a bundle and return its folder; `graph_changes` overwrite fields of every graph."""
    folder.mkdir(parents=True, exist_ok=True)
    graphs = {}
    if "inverse" in directions:
        graphs["inverse"] = inverse_graph(latents, gain)
    if "forward" in directions:
        graphs["forward"] = forward_graph(sr)
    entries = []
    for direction, data in graphs.items():
        entry = _entry(direction, data, latents if direction == "inverse" else True)
        (folder / entry.file).write_bytes(data)
        entries.append(replace(entry, **graph_changes))
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **vector_arrays())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    vectors = Vectors(f"vectors.{digest[:12]}.npz", digest)
    (folder / vectors.file).write_bytes(buffer.getvalue())
    manifest = Manifest(
        schema=1,
        name="tiny_x4",
        task="sr" if sr else "rescaling",
        scale=SCALE,
        default_tau=default_tau,
        latents=Latents(SCHEME, LEVELS),
        checkpoint=Checkpoint("0" * 64, {"made by": "tests/support/bundles.py"}),
        tools={"onnx": onnx.__version__},
        graphs=tuple(entries),
        vectors=vectors,
    )
    (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return folder


def remove_borders(folder: Path) -> None:
    """Let a bundle's graphs run images as they are, without padding around them."""
    path = folder / "manifest.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    for graph in facts["graphs"]:
        graph.pop("border", None)
    path.write_text(json.dumps(facts), encoding="utf-8")
