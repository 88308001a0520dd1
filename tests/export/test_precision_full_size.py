"""The official sizes in fp16 keep their budget on photographs, and compile in every precision."""

from typing import get_args

import numpy as np
import onnx_ir as ir
import pytest
import torch

from calib.qdq import place
from export.engine.compile import compile_graph
from export.engine.options import EngineOptions
from export.folded.fold import GraphSpec
from export.graph import contract, emit
from export.precision import evaluation, lower
from export.precision.evaluation import evaluator, inputs_of
from export.precision.int8_candidates import prepare
from hcflow_ref.network.config import OFFICIAL
from hcflow_ref.network.synthetic_weights import synthetic
from runtime.bundle.manifest import Direction
from tests.support.engine_graphs import SIZES, onnx_graph, ranges

pytestmark = pytest.mark.slow
OPTIONS = EngineOptions("tensorrt-rtx", SIZES, compute_capabilities=("8.9",))


@pytest.mark.parametrize("direction", get_args(Direction))
@pytest.mark.parametrize("network", OFFICIAL)
def test_full_size_in_every_precision(
    network: str, direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "PHOTOGRAPH_SIDE", 96)
    torch.set_num_threads(2)
    model = synthetic(OFFICIAL[network])
    tau = model.config.default_tau
    spec = GraphSpec(direction, "fp16")
    lowered = lower.lower(model, spec, (0.0, tau), lower.Calibration(), None, lambda _: None)
    assert not lowered.kept
    assert {row.case for row in lowered.losses} == set(evaluation.PHOTOGRAPHS)
    for row in lowered.losses:
        assert row.psnr_fp32_db is None or row.psnr_fp32_db >= 50
        assert row.loss_db <= 0.02
    half = emit.to_onnx(lowered.traced, model.config, spec)
    graphs = {
        "fp32": onnx_graph(model, direction),
        "fp16": ir.to_proto(half).SerializeToString(),
    }
    side = 16 * model.config.scale
    noise = np.random.default_rng(0).random((1, 3, side, side), np.float32)
    trial = inputs_of(model, spec, noise, 0.0)
    prepared = prepare(evaluator(model, spec, lowered.traced), [trial], lambda _: None)
    assert sum(prepared.work.values()) > 0.9
    emitted = emit.to_onnx(lowered.traced, model.config, spec)
    place(
        emitted,
        {path.replace(".", "/"): x for path, x in prepared.ranges["minmax"].items()},
        {conv.path.replace(".", "/"): conv.largest for conv in prepared.candidates},
    )
    contract.check(emitted)
    graphs["int8"] = ir.to_proto(emitted).SerializeToString()
    sizes = {name: len(data) for name, data in graphs.items()}
    assert sizes["fp16"] <= 0.52 * sizes["fp32"]
    assert sizes["int8"] <= 0.35 * sizes["fp32"]
    pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx-cu13 (240 MB)")
    for name, data in graphs.items():
        assert compile_graph(data, (ranges(data),), name, OPTIONS).data  # type: ignore[arg-type]
