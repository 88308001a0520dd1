"""The precision that an engine's layers really run in, by the inspector's report."""

from __future__ import annotations

import json

import onnx
import pytest
from onnx import TensorProto, helper

from export.engine import layer_precision, plan
from export.engine.compile import compile_graph
from export.engine.options import EngineOptions
from export.engine.profile import profile
from export.errors import ExportError
from tests.export.test_engine_plan import FIXED, graph


def conv(tactic: str = "", form: str = "") -> dict[str, object]:
    inputs = [{"Name": "x", "Format/Datatype": form}]
    return {"Name": "c", "LayerType": "CaskConvolution", "TacticName": tactic, "Inputs": inputs}


REPORT = {
    "Layers": [
        conv("sm80_xmma_fprop_implicit_gemm_f16f16_f16f16_f16_nhwckrsc_nhwc_tilesize64x64"),
        conv("sm86_xmma_fprop_implicit_gemm_i8i8_i8i32_f32_nchw_vect_c_32"),
        conv("ampere_scudnn_128x64_relu_small_nn_v1", "Row major linear FP32"),
        conv("", "Channel major FP16 format where channel % 8 == 0"),
        {"Name": "copy", "LayerType": "Reformat", "TacticName": "", "Inputs": []},
    ]
}


def test_the_inspectors_report_tells_what_every_convolution_runs_in() -> None:
    assert layer_precision.realised(json.dumps(REPORT)) == {"fp16": 2, "int8": 1, "fp32": 1}
    with pytest.raises(ExportError, match="layer names only"):
        layer_precision.realised(json.dumps({"Layers": ["conv1", "conv2"]}))
    with pytest.raises(ExportError, match="cannot be read"):
        layer_precision.realised("not json")


def convolutions(half: int = 0, int8: int = 0, single: int = 0) -> bytes:
    """A graph of so many convolutions with weights of each type."""
    kinds = (("f16", TensorProto.FLOAT16), ("i8", TensorProto.INT8), ("f32", TensorProto.FLOAT))
    weights = [helper.make_tensor(name, kind, [1, 1, 1, 1], [1]) for name, kind in kinds]
    nodes = [helper.make_node("DequantizeLinear", ["i8", "scale", "zero"], ["dequantised"])]
    for name, count in (("f16", half), ("dequantised", int8), ("f32", single)):
        nodes += [helper.make_node("Conv", ["x", name], [f"{name}/{i}"]) for i in range(count)]
    graph = helper.make_graph(nodes, "convolutions", [], [], weights)
    data: bytes = helper.make_model(graph).SerializeToString()
    return data


def test_a_precision_that_was_not_realised_fails_the_build() -> None:
    layer_precision.check({"fp32": 50}, convolutions(single=50), "fp32")
    half = convolutions(half=100)
    layer_precision.check({"fp16": 90, "fp32": 10}, half, "fp16")
    for layers in ({"fp32": 50}, {"tf32": 50}, {"fp16": 80, "fp32": 20}, {}):
        with pytest.raises(ExportError, match=r"fp16 was requested and not used.* 100 conv"):
            layer_precision.check(layers, half, "fp16")
    with pytest.raises(ExportError, match="int8 was requested and not used"):
        layer_precision.check({"fp16": 50}, convolutions(int8=50), "int8")


def test_convolutions_that_do_not_tell_are_a_warning_unless_strict() -> None:
    half = convolutions(half=100, single=20)
    fused = {"unknown": 60, "fp16": 30, "fp32": 20}
    warning = layer_precision.check(fused, half, "fp16")
    assert warning == (
        "the engine tells of 30 of 100 convolutions that they run in fp16, and of 60 nothing"
    )
    with pytest.raises(ExportError, match="--strict refuses"):
        layer_precision.check(fused, half, "fp16", strict=True)
    with pytest.raises(ExportError, match="requested and not used"):  # they tell of another
        layer_precision.check({"unknown": 10, "fp32": 90}, half, "fp16")
    assert layer_precision.check({"fp16": 100}, half, "fp16", strict=True) is None


def test_convolutions_that_a_graph_keeps_in_float_count_for_nothing() -> None:
    deep = convolutions(half=90, single=60)
    layer_precision.check({"fp16": 90, "fp32": 60}, deep, "fp16")
    mixed = convolutions(half=20, int8=90, single=60)
    layer_precision.check({"int8": 90, "fp16": 20, "fp32": 60}, mixed, "int8")
    with pytest.raises(ExportError, match=r"has 90 convolutions in it, the engine 105 in fp16"):
        layer_precision.check({"int8": 5, "fp16": 105, "fp32": 0}, mixed, "int8")
    with pytest.raises(ExportError, match="has 0 convolutions in it"):
        layer_precision.check({"fp32": 50}, convolutions(single=50), "fp16")


def test_convolutions_that_a_program_converts_to_half_are_told_and_refused_if_strict() -> None:
    mixed = convolutions(half=14, int8=212)
    assert layer_precision.fallen_back({"int8": 212, "fp16": 14}, mixed, "int8") is None
    found = {"int8": 200, "fp16": 26}
    warning = layer_precision.fallen_back(found, mixed, "int8")
    assert warning == (
        "12 of 212 convolutions that the graph has in int8 do not run in it: the program has 200 "
        "in int8, 26 in fp16"
    )
    with pytest.raises(ExportError, match=r"12 of 212 .* --strict refuses"):
        layer_precision.fallen_back(found, mixed, "int8", strict=True)
    assert layer_precision.fallen_back({"fp16": 4}, convolutions(single=4), "fp32") is None


def test_a_program_that_is_unknown_is_told_of_graphs_of_8_bits_alone() -> None:
    assert layer_precision.fallen_back(None, convolutions(half=3), "fp16", strict=True) is None
    mixed = convolutions(int8=3)
    assert "not known" in (layer_precision.fallen_back(None, mixed, "fp8") or "")
    with pytest.raises(ExportError, match=r"not known .* --strict refuses"):
        layer_precision.fallen_back(None, mixed, "fp8", strict=True)


def program_of(data: bytes) -> plan.Program:
    """What TensorRT-RTX makes of a graph."""
    pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx-cu13 (240 MB)")
    options = EngineOptions("tensorrt-rtx", FIXED, ("8.9",))
    ranges = profile(onnx.load_from_string(data), FIXED)
    found = compile_graph(data, [ranges], "fp8", options).program
    assert found is not None
    return found


def test_a_scale_of_shape_1_sends_an_fp8_convolution_to_half_and_is_told() -> None:
    for scale, fallen in ((0.01, False), ([0.01], True)):
        data = graph("fp8", scale)
        program = program_of(data)
        warning = layer_precision.fallen_back(program.entry().convolutions, data, "fp8")
        assert (warning is not None) == fallen
