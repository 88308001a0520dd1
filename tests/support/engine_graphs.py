"""Graphs of the small golden networks for the engine tests, without a build's parity checks."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from export.engine.profile import Sizes, profile
from export.folded.fold import GraphSpec, deploy
from export.graph import emit, trace
from hcflow_ref.checkpoint.load import load
from hcflow_ref.network.hcflow import HCFlow
from hcflow_ref.network.irn import IRN
from runtime.bundle.engines.entry import Profile
from tests.support.golden_files import weights

NETWORKS = ("sr_x4", "sr_x8", "rescale_x4")
SIZES = Sizes((8, 8), (16, 16), (32, 32))


@functools.cache
def onnx_bytes(network: str, direction: Any, precision: Any) -> bytes:
    return onnx_graph(load(weights(network)).model, direction, precision)


def onnx_graph(model: HCFlow | IRN, direction: Any, precision: Any = "fp32") -> bytes:
    """A network's graph with latents, without a build's checks."""
    spec = GraphSpec(direction, precision)
    emitted = emit.to_onnx(trace.trace(deploy(model, spec)), model.config, spec)
    return ir.to_proto(emitted).SerializeToString()


def ranges(data: bytes, sizes: Sizes = SIZES) -> Profile:
    return profile(onnx.load_from_string(data), sizes)


class _Noise(CalibrationDataReader):
    """Two random feeds: how well an engine is calibrated is no question of these tests."""

    def __init__(self, data: bytes) -> None:
        random = np.random.default_rng(0)
        shapes = {name: r.smallest for name, r in ranges(data).items()}
        self.feeds = [{n: random.random(s, np.float32) for n, s in shapes.items()}] * 2

    def get_next(self) -> dict[str, Any] | None:
        return self.feeds.pop() if self.feeds else None


def int8_bytes(network: str, direction: str, folder: Path) -> bytes:
    """Q/DQ pairs around every convolution, symmetric, weights per channel."""
    data = onnx_bytes(network, direction, "fp32")
    source, target = folder / "fp32.onnx", folder / "int8.onnx"
    source.write_bytes(data)
    quantize_static(
        source,
        target,
        _Noise(data),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv"],
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )
    return target.read_bytes()
