"""FP8 graphs: E4M3 pairs with one scale a tensor, made, measured, compiled and refused as such."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from calib import encodings
from calib.encodings import FP8, INT8, INT8_PER_TENSOR
from calib.qdq import place
from export import pipeline, tile_grid
from export.artifact import Artifact
from export.engine.bundle_engines import compile_bundle
from export.engine.compile import compile_graph
from export.engine.options import EngineOptions
from export.engine.profile import Sizes, profile
from export.errors import BudgetError, ExportError
from export.folded.fold import GraphSpec, deploy
from export.graph import emit, trace
from export.pipeline import Request, build
from export.precision import evaluation, lower
from export.precision.emulation import Quantised
from export.precision.equalisation import is_chain
from export.precision.lower import Calibration
from hcflow_ref.checkpoint.load import load
from hcflow_ref.network.config import OFFICIAL
from hcflow_ref.network.synthetic_weights import synthetic
from runtime import Bundle
from runtime.bundle.manifest import Manifest, Target
from tests.support.engine_graphs import SIZES, ranges
from tests.support.golden_files import weights

E4M3 = ml_dtypes.float8_e4m3fn


def dense_block(channels: int = 5) -> onnx.ModelProto:
    """Three half convolutions of a flat dense block with its residual, on `lr` of some channels."""
    random = np.random.default_rng(0)
    shape = ["N", channels, "H", "W"]
    image, out = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("lr", "hr"))
    nodes = [helper.make_node("Cast", ["lr"], ["x"], "cast", to=TensorProto.FLOAT16)]
    tensors, parts, read = [], ["x"], channels
    for k in (1, 2, 3):
        made = 16 if k < 3 else channels
        weight = 0.2 * random.standard_normal((made, read, 3, 3))
        for name, array in ((f"w{k}", weight), (f"b{k}", random.standard_normal(made))):
            tensors.append(numpy_helper.from_array(array.astype(np.float16), name))
        source = parts[0]
        if k > 1:
            source = f"joined{k}"
            nodes.append(helper.make_node("Concat", parts, [source], source, axis=1))
        nodes.append(
            helper.make_node(
                "Conv", [source, f"w{k}", f"b{k}"], [f"c{k}"], f"conv{k}", pads=[1, 1, 1, 1]
            )
        )
        if k < 3:
            nodes.append(helper.make_node("LeakyRelu", [f"c{k}"], [f"l{k}"], f"relu{k}", alpha=0.2))
            parts, read = [*parts, f"l{k}"], read + made
    nodes.append(helper.make_node("Add", ["c3", "x"], ["sum"], "residual"))
    nodes.append(helper.make_node("Cast", ["sum"], ["hr"], "back", to=TensorProto.FLOAT))
    graph = helper.make_graph(nodes, "block", [image], [out], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


CONVS = ("conv1", "conv2", "conv3")


def quantised(encoding: encodings.Encoding, channels: int = 5) -> onnx.ModelProto:
    model = ir.from_proto(dense_block(channels))
    place(model, dict.fromkeys(CONVS, 4.0), dict.fromkeys(CONVS, 127), encoding)
    made = ir.to_proto(model)
    onnx.checker.check_model(made, full_check=True)
    return made


def run(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"lr": image})
    return np.asarray(found)


def test_weights_have_one_scale_a_tensor_and_reach_448() -> None:
    weight = np.linspace(-2, 1, 2 * 3 * 9).reshape(2, 3, 3, 3).astype(np.float16)
    made = encodings.quantise_weights(weight, 0, FP8)
    assert (made.values.dtype, made.scale.shape, made.scale.dtype) == (E4M3, (), np.float16)
    assert abs(made.values.astype(np.float32)).max() == 448
    assert np.allclose(made.dequantised, weight, rtol=2**-4, atol=2**-6)
    assert float(encodings.activation_scale(8.96, np.dtype(np.float32), FP8)) == pytest.approx(0.02)


def test_values_beyond_the_largest_are_clipped_as_the_graph_clips_them() -> None:
    values = np.array([1e4, -1e4, 447.0, 0.0019], np.float32)
    assert FP8.encode(values).astype(np.float32).tolist() == [448, -448, 448, 2**-9]
    low = Quantised(1.0, torch.zeros(1), FP8).rounded(torch.from_numpy(values))
    assert low.tolist() == [448, -448, 448, 2**-9]


def test_every_pair_has_an_e4m3_zero_point_and_a_scalar_scale() -> None:
    graph = quantised(FP8).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    kinds = ("QuantizeLinear", "DequantizeLinear")
    pairs = [node for node in graph.node if node.op_type in kinds]
    assert len(pairs) == 3 * 3
    for node in pairs:
        assert tensors[node.input[2]].data_type == TensorProto.FLOAT8E4M3FN
        assert (list(tensors[node.input[1]].dims), node.attribute) == ([], [])
        assert tensors[node.input[1]].data_type == TensorProto.FLOAT16


def test_no_concatenation_is_of_8_bits_and_each_holds_the_one_before() -> None:
    graph = quantised(FP8).graph
    makers = {name: node for node in graph.node for name in node.output}
    joined = [node for node in graph.node if node.op_type == "Concat"]
    assert [len(node.input) for node in joined] == [2, 2]
    assert makers[joined[1].input[0]] is joined[0]
    quantised_values = {n.input[0] for n in graph.node if n.op_type == "QuantizeLinear"}
    assert {node.output[0] for node in joined} <= quantised_values


def test_the_first_channels_are_padded_to_sixteen_and_the_weights_with_zeros() -> None:
    graph = quantised(FP8).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    assert sum(node.op_type == "Pad" for node in graph.node) == 1
    assert [tensors[f"w{k}/float8_e4m3fn"].dims[1] for k in (1, 2, 3)] == [16, 32, 48]
    assert not any(node.op_type == "Pad" for node in quantised(FP8, 16).graph.node)


@pytest.mark.parametrize("encoding", [FP8, INT8_PER_TENSOR, INT8])
def test_the_graph_computes_what_the_float_graph_does_to_8_bits(
    encoding: encodings.Encoding,
) -> None:
    image = np.random.default_rng(1).random((1, 5, 6, 7), np.float32)
    exact = run(dense_block(), image)
    error = run(quantised(encoding), image) - exact
    assert 0 < np.sqrt(np.mean(np.square(error))) < 0.05 * np.abs(exact).max()


def test_per_tensor_int8_has_scalar_scales_and_whole_concatenations() -> None:
    graph = quantised(INT8_PER_TENSOR).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    scales = [tensors[n.input[1]] for n in graph.node if n.op_type == "DequantizeLinear"]
    assert all(not scale.dims for scale in scales)


def test_fp8_is_compiled_for_gpus_that_have_it_and_refused_for_others() -> None:
    plain = EngineOptions("tensorrt-rtx")
    assert plain.for_precision("fp8").targets() == ("8.9", "12.0")
    assert plain.for_precision("fp16") is plain
    for capability in ("7.5", "8.0", "8.6"):
        older = EngineOptions("tensorrt-rtx", compute_capabilities=(capability, "8.9"))
        with pytest.raises(ExportError, match=f"compute capability {capability} have no FP8"):
            older.for_precision("fp8")
        assert not older.runs("fp8")
        assert older.runs("int8")


@pytest.mark.parametrize("capability", ["8.9", "12.0"])
def test_the_convolutions_of_a_compiled_block_read_fp8(capability: str) -> None:
    pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx-cu13 (240 MB)")
    data = quantised(FP8).SerializeToString()
    options = EngineOptions("tensorrt-rtx", SIZES, (capability,))
    compiled = compile_graph(data, (ranges(data),), "fp8", options)
    assert compiled.program is not None
    assert compiled.program.entry().convolutions == {"fp8": 3}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Manifest]]:
    """A small inverse in fp32, int8, int8 for TensorRT-RTX and fp8."""
    folder = tmp_path_factory.mktemp("fp8")
    photographs = folder / "photographs"
    photographs.mkdir()
    for seed in range(3):
        noise = np.random.default_rng(seed).integers(0, 255, (20, 20, 3), np.uint8)
        smooth = Image.fromarray(noise).resize((160, 160), Image.Resampling.BICUBIC)
        smooth.save(photographs / f"{seed}.png")
    request = Request(
        "small",
        ("inverse",),
        calibration=photographs,
        int8_budget_db=50.0,
        int8_for_rtx=True,
        fp8_budget_db=50.0,
        accept_over_budget=True,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "PHOTOGRAPH_SIDE", 64)
        patch.setattr(lower, "CROP_SIDE", 12)
        patch.setattr(tile_grid, "certify", lambda graphs, *_: graphs)
        yield folder / "b", build(load(weights("rescale_x4")), folder / "b", request)


@pytest.mark.slow
def test_a_build_makes_graphs_for_tensorrt_rtx_beside_those_for_any_machine(
    bundle: tuple[Path, Manifest],
) -> None:
    folder, manifest = bundle
    assert [graph.title for graph in manifest.graphs] == [
        "inverse fp32",
        "inverse int8",
        "inverse int8 for rtx",
        "inverse fp8 for rtx",
    ]
    opened = Bundle.open(folder)
    assert opened.manifest == manifest
    fp8 = opened.graph("inverse", "fp8", None, targets=("rtx",))
    assert fp8.file.startswith("inverse.fp8.rtx.")
    assert fp8.report is not None
    assert (folder / fp8.report).is_file()
    model = onnx.load_from_string(opened.read_graph(fp8))
    assert model.opset_import[0].version >= 19
    assert {row.case for row in fp8.parity} >= {"astronaut", "astronaut, rounded"}


@pytest.mark.slow
def test_the_graph_gives_what_the_emulation_gives(bundle: tuple[Path, Manifest]) -> None:
    (fp8,) = [graph for graph in bundle[1].graphs if graph.precision == "fp8"]
    psnr = {row.case: row.psnr_db for row in fp8.parity if row.tau == 0}
    graph, emulated = psnr["astronaut"], psnr["astronaut, rounded"]
    assert graph is not None
    assert emulated is not None
    assert graph == pytest.approx(emulated, abs=1.5)


@pytest.mark.slow
def test_an_fp8_graph_is_refused_for_a_gpu_without_it(bundle: tuple[Path, Manifest]) -> None:
    opened = Bundle.open(bundle[0])
    options = EngineOptions("tensorrt-rtx", SIZES, ("8.6",))
    with pytest.raises(ExportError, match=r"8\.6 have no FP8"):
        compile_bundle(opened, options, precisions=("fp8",))


@pytest.mark.slow
def test_the_default_inverse_moves_at_most_245_megabytes_in_fp8() -> None:
    pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx-cu13 (240 MB)")
    model, spec = synthetic(OFFICIAL["rescale_x4"]), GraphSpec("inverse", "fp16")
    traced = trace.trace(deploy(model, spec))
    convs = [
        str(node.target).replace(".", "/")
        for node in traced.graph.nodes
        if node.op == "call_module"
        and trace.convolution(traced, node).weight.dtype == torch.float16
        and not is_chain(node.args[0])
    ]
    emitted = emit.to_onnx(traced, model.config, spec)
    place(emitted, dict.fromkeys(convs, 4.0), dict.fromkeys(convs, 127), FP8)
    data = ir.to_proto(emitted).SerializeToString()
    sizes = Sizes((40, 40), (40, 40), (40, 40))
    options = EngineOptions("tensorrt-rtx", sizes, ("8.9",))
    shapes = profile(onnx.load_from_string(data), sizes)
    compiled = compile_graph(data, (shapes,), "fp8", options)
    assert compiled.program is not None
    program = compiled.program.entry()
    assert program.convolutions["fp8"] == len(convs)
    assert program.bytes is not None
    assert program.bytes <= 245e6 * 1.03


def test_int8_for_tensorrt_rtx_that_misses_its_budget_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def miss(*_: object) -> None:
        raise BudgetError("it loses 0.2 dB. Nothing was written")

    monkeypatch.setattr(pipeline, "lower", miss)
    checkpoint = cast(Any, SimpleNamespace(network=None, sha256=""))
    notes: list[str] = []

    def graphs(target: Target | None) -> list[Artifact]:
        specs = [GraphSpec("inverse", "int8", target=target)]
        return pipeline._graphs(checkpoint, specs, [], (0.0,), Calibration(), print, notes.append)

    assert graphs("rtx") == []
    assert len(notes) == 1
    assert "INT8 gains nothing: use --fp16 or --fp8 (it loses 0.2 dB)" in notes[0]
    with pytest.raises(BudgetError):
        graphs(None)
