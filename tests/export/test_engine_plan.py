"""The program in a plan: read from real plans of tiny graphs, and never from what is not one."""

from __future__ import annotations

import functools
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from export.engine import plan
from export.engine.compile import Compiled, compile_graph
from export.engine.options import EngineOptions
from export.engine.profile import Sizes, best_shapes, profile

SIDE, CHANNELS = 8, 16
QUANTISED = {"int8": TensorProto.INT8, "fp8": TensorProto.FLOAT8E4M3FN}
FIXED = Sizes((SIDE, SIDE), (SIDE, SIDE), (SIDE, SIDE))
DYNAMIC = Sizes((SIDE, SIDE), (16, 16), (32, 32))


def graph(kind: str, scale: Any = 0.01) -> bytes:
    """Cast → Conv → Conv with its residual → Cast; int8 and fp8 in the first convolution alone."""
    random = np.random.default_rng(0)
    weights = (random.standard_normal((CHANNELS, CHANNELS, 3, 3)) * 0.1).astype(np.float16)
    stored = [numpy_helper.from_array(np.zeros(CHANNELS, np.float16), "bias")]
    stored += [numpy_helper.from_array(weights, "second")]
    nodes = [helper.make_node("Cast", ["lr"], ["x"], to=TensorProto.FLOAT16, name="in")]
    reads, first = "x", "second"
    if kind in QUANTISED:
        held = {"int8": np.int8, "fp8": ml_dtypes.float8_e4m3fn}[kind]
        raw = (weights.astype(np.float32) / 0.01).clip(-127, 127).astype(held).tobytes()
        stored += [
            numpy_helper.from_array(np.array(scale, np.float16), "scale"),
            helper.make_tensor("zero", QUANTISED[kind], np.shape(scale), b"\0", raw=True),
            helper.make_tensor("first", QUANTISED[kind], weights.shape, raw, raw=True),
        ]
        for source, target in (("x", "near"), ("first", "weights")):
            quantised = source
            if source == "x":
                quantised = "quantised"
                nodes += [
                    helper.make_node("QuantizeLinear", [source, "scale", "zero"], [quantised])
                ]
            nodes += [helper.make_node("DequantizeLinear", [quantised, "scale", "zero"], [target])]
        reads, first = "near", "weights"
    window: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1] * 4}
    nodes += [
        helper.make_node("Conv", [reads, first, "bias"], ["a"], name="level0/conv1", **window),
        helper.make_node("Conv", ["a", "second", "bias"], ["b"], name="level0/conv2", **window),
        helper.make_node("Add", ["b", "x"], ["c"], name="level0/Add"),
        helper.make_node("Cast", ["c"], ["hr"], to=TensorProto.FLOAT, name="out"),
    ]
    lr, hr = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, CHANNELS, "H", "W"])
        for name in ("lr", "hr")
    )
    made = helper.make_graph(nodes, "tiny", [lr], [hr], stored)
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(made, opset_imports=opset, ir_version=10).SerializeToString()


@functools.cache
def compiled(kind: str, sizes: Sizes = FIXED, target: str = "8.9") -> Compiled:
    pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx-cu13 (240 MB)")
    data = graph(kind)
    options = EngineOptions("tensorrt-rtx", sizes, (target,))
    ranges = profile(onnx.load_from_string(data), sizes)
    return compile_graph(data, (ranges,), "fp16", options)


def program(kind: str, sizes: Sizes = FIXED) -> plan.Program:
    found = compiled(kind, sizes).program
    assert found is not None
    return found


def convolutions(found: plan.Program) -> list[plan.Convolution]:
    return [each.convolution for each in found.convolutions if each.convolution]


@pytest.mark.parametrize("kind", ["fp16", "int8", "fp8"])
def test_a_convolution_is_read_with_the_type_it_reads(kind: str) -> None:
    found = program(kind)
    first, second = convolutions(found)
    assert "level0/conv1" in found.convolutions[0].layers
    assert (first.reads, first.weights) == (kind, kind)
    assert (second.reads, second.weights) == ("fp16", "fp16")


def test_a_residual_added_in_a_convolution_counts_as_fused() -> None:
    found = program("fp16")
    assert [each.fused for each in convolutions(found)] == [False, True]
    assert "level0/Add" in found.convolutions[1].layers


def test_bytes_and_operations_are_those_of_the_tensors() -> None:
    found = program("fp16")
    elements = CHANNELS * SIDE * SIDE
    moved = [each.bytes for each in found.convolutions]
    assert moved == [2 * elements * 2, 3 * elements * 2]  # the second reads the residual too
    assert convolutions(found)[0].operations == 2 * elements * CHANNELS * 9
    cast = found.kernels[0]
    assert (cast.inputs, cast.outputs, cast.convolution) == (("fp32",), ("fp16",), None)
    assert cast.bytes == elements * (4 + 2)


def test_an_engine_of_dynamic_sizes_has_the_figures_of_its_best_ones() -> None:
    fixed, dynamic = program("fp16").entry(), program("fp16", DYNAMIC).entry()
    assert dynamic.convolutions == fixed.convolutions == {"fp16": 2}
    assert fixed.operations is not None
    assert dynamic.operations == {"fp16": 4 * fixed.operations["fp16"]}
    assert dynamic.bytes is not None
    assert fixed.bytes is not None
    assert dynamic.bytes >= 4 * fixed.bytes


def test_a_size_that_is_not_given_leaves_the_bytes_unknown() -> None:
    data = compiled("fp16", DYNAMIC).data
    found = plan.read(data, "tensorrt-rtx", plan.VERSION, {})
    assert found is not None
    entry = found.entry()
    assert entry.convolutions == {"fp16": 2}
    assert entry.bytes is None
    assert entry.operations is None


def test_of_several_profiles_the_first_ones_program_is_read() -> None:
    pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx-cu13 (240 MB)")
    model = onnx.load_from_string(graph("fp16"))
    sizes = [Sizes((SIDE, SIDE), (side, side), (side, side)) for side in (16, 32)]
    profiles = [profile(model, each) for each in sizes]
    options = EngineOptions("tensorrt-rtx", sizes[-1], ("8.9",))
    one, two = (
        compile_graph(graph("fp16"), each, "fp16", options) for each in (profiles[:1], profiles)
    )
    assert one.program is not None
    assert two.program is not None
    assert two.program.entry() == one.program.entry()
    assert len(two.data) > len(one.data)


def test_a_plan_of_another_version_or_library_is_unknown() -> None:
    data, shapes = compiled("fp16").data, best_shapes(*_parts())
    assert plan.read(data, "tensorrt-rtx", plan.VERSION + ".116", shapes) is not None
    assert plan.read(data, "tensorrt-rtx", "1.8.0.1", shapes) is None
    assert plan.read(data, "tensorrt-rtx", "0", shapes) is None
    assert plan.read(data, "tensorrt", plan.VERSION, shapes) is None


def _parts() -> Any:
    model = onnx.load_from_string(graph("fp16"))
    return model, profile(model, FIXED)


def text_of(data: bytes) -> tuple[int, bytes]:
    start = data.index(b"NLYM") + 16
    return start, data[start : start + int.from_bytes(data[start - 8 : start], "little")]


def plan_of(text: bytes) -> bytes:
    return b"NLYM" + bytes(4) + len(text).to_bytes(8, "little") + text


def read(data: bytes) -> plan.Program | None:
    return plan.read(data, "tensorrt-rtx", plan.VERSION, {})


def test_a_plan_cut_short_anywhere_is_unknown() -> None:
    data = compiled("fp16").data
    start, text = text_of(data)
    for length in range(0, start + len(text), 97):
        assert read(data[:length]) is None
    for length in range(0, len(text) - 2, 97):
        assert read(plan_of(text[:length])) is None


TENSOR = b'  tensor={ dims={ 1 16 8 8 } name="x" region="devmem" type=half }\n'
KERNEL = b'  function={ name=f input_args={ "x" } output_args={ "x" } }\n'


def written(descriptors: bytes, body: bytes) -> bytes:
    head = b"header {\n  version = 5\n}\ndescriptors {\n"
    return plan_of(head + descriptors + b"}\nmain {\n label bb1:\n" + body + b"}\n")


def test_a_program_written_by_hand_is_read() -> None:
    found = read(written(TENSOR, KERNEL))
    assert found is not None
    assert found.entry().bytes == 16 * 64 * 2


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"NLYM",
        b"NLYM" * 100_000,
        b"NLYM" + bytes(4) + b"\xff" * 8 + b"header {\n  version = 5\n",
        plan_of(b"header {\n  version = 5\n\xff\xfe}\nmain {\n}\n"),
        plan_of(b"header {\n  version = 6\n}\nmain {\n}\n"),
        written(b"", b""),
        written(TENSOR.replace(b"half", b"fp3"), KERNEL),
        written(TENSOR.replace(b" type=half", b""), KERNEL),
        written(TENSOR.replace(b'name="x"', b""), KERNEL),
        written(TENSOR.replace(b"dims={ 1 16 8 8 } ", b""), KERNEL),
        written(TENSOR.replace(b"16", b"9" * 5000), KERNEL),
        written(TENSOR, KERNEL.replace(b'{ "x" } }', b'{ "y" } }')),
        written(TENSOR, KERNEL.replace(b"function", b"gemm")),
        written(TENSOR, b"  corrltn={ name=f input={ } output={ } }\n"),
        written(TENSOR, b'  corrltn={ name=f input={ "x" } output={ "x" } }\n'),
        written(TENSOR, b"  runtime_fusion=\n"),
        written(b"  tensor={" + b"a" * 200_000 + b"\n", KERNEL),
        written(b"  tensor={" + b"name={" * 50_000 + b"\n", KERNEL),
        written(b"  tensor={" + b'dims={"' * 50_000 + b"\n", KERNEL),
    ],
)
def test_what_is_not_such_a_program_is_unknown(data: bytes) -> None:
    assert read(data) is None


def test_longer_texts_than_any_compiler_writes_are_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = written(TENSOR, KERNEL)
    monkeypatch.setattr(plan, "MOST_BYTES", len(data))
    assert read(data) is not None
    assert read(data + data) is None
