"""Every form of dense blocks gives the results of the graph that it was made from."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from export.engine.options import EngineOptions
from export.engine.refit import check_same
from export.forms import dense_blocks
from export.forms.choice import preferred
from export.forms.rewrite import FORMS, Form, rewrite
from tests.support.engine_graphs import NETWORKS, onnx_bytes, ranges

OTHERS = [form for form in FORMS if form != "flat"]


@functools.cache
def model(network: str, direction: str = "inverse", precision: str = "fp32") -> onnx.ModelProto:
    return onnx.load_from_string(onnx_bytes(network, direction, precision))


def run(graph: onnx.ModelProto) -> list[np.ndarray[Any, Any]]:
    data = graph.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(0)
    shapes = {name: each.smallest for name, each in ranges(data).items()}
    feeds = {name: random.random(shape, np.float32) for name, shape in shapes.items()}
    return list(session.run(None, feeds))


@functools.cache
def flat(network: str, direction: str) -> list[np.ndarray[Any, Any]]:
    return run(model(network, direction))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("direction", ["inverse", "forward"])
@pytest.mark.parametrize("form", OTHERS)
def test_a_form_has_the_graphs_results_to_1e_6(network: str, direction: str, form: Form) -> None:
    graph = rewrite(model(network, direction), form)
    onnx.checker.check_model(graph, full_check=True)
    for ours, theirs in zip(run(graph), flat(network, direction), strict=True):
        assert np.abs(ours - theirs).max() <= 1e-6 * max(1.0, np.abs(theirs).max())


def test_a_form_in_fp16_is_as_near_to_fp32_as_the_graph_itself() -> None:
    exact = flat("rescale_x4", "inverse")[0]

    def error(form: Form) -> float:
        image = run(rewrite(model("rescale_x4", precision="fp16"), form))[0]
        return float(np.sqrt(np.mean((image - exact) ** 2)))

    as_it_is = error("flat")
    assert as_it_is > 0
    for form in OTHERS:
        assert error(form) <= 1.5 * as_it_is


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_every_dense_block_of_a_build_is_found(network: str, precision: str) -> None:
    graph = model(network, "inverse", precision).graph
    paths = {node.name.rpartition("/")[0] for node in graph.node if node.name.endswith("/conv5")}
    found = dense_blocks.find(graph)
    assert len(found) == len(paths) > 0
    in_rrdbs = [block for block in found if "/rdb" in block.convolutions[0].name]
    assert [block.residual is not None for block in in_rrdbs] == [True] * len(in_rrdbs)


def test_a_form_keeps_the_names_of_convolutions_and_weights() -> None:
    before = model("rescale_x4")
    for form in OTHERS:
        after = rewrite(before, form)
        names = {node.name for node in after.graph.node if node.op_type == "Conv"}
        assert names >= {node.name for node in before.graph.node if node.op_type == "Conv"}
        stored = {tensor.name for tensor in after.graph.initializer}
        assert stored >= {tensor.name for tensor in before.graph.initializer}
        assert len({node.name for node in after.graph.node}) == len(after.graph.node)


def test_new_weights_of_the_same_architecture_differ_in_values_alone_in_every_form() -> None:
    before = model("rescale_x4")
    after = onnx.ModelProto()
    after.CopyFrom(before)
    for tensor in after.graph.initializer:
        if tensor.name.endswith(("/weight", "/bias")):
            halved = numpy_helper.to_array(tensor) / 2
            tensor.CopyFrom(numpy_helper.from_array(halved, tensor.name))
    for form in FORMS:
        old, new = (rewrite(each, form).SerializeToString() for each in (before, after))
        assert old != new
        check_same(old, new, form)


def test_the_same_graph_becomes_the_same_bytes() -> None:
    for form in OTHERS:
        first, second = (rewrite(model("sr_x4"), form) for _ in range(2))
        assert first.SerializeToString() == second.SerializeToString()


def test_flat_is_the_graph_itself() -> None:
    assert rewrite(model("sr_x4"), "flat") == model("sr_x4")


def test_a_pass_through_buffer_holds_the_input_padded_to_a_multiple_of_8() -> None:
    before = model("rescale_x4")
    shapes, now = (
        {tensor.name: list(tensor.dims) for tensor in each.graph.initializer}
        for each in (before, rewrite(before, "pass-through"))
    )
    for block in dense_blocks.find(before.graph):
        first, second = (node.input[1] for node in block.convolutions[:2])
        new, channels = shapes[first][:2]
        assert now[first][1] == channels
        assert now[second][1] == now[first][0] == -(-channels // 8) * 8 + new


@pytest.mark.parametrize("kind", ["read twice", "of other activations", "shared weights"])
def test_what_is_not_quite_a_dense_block_stays_as_it_is(kind: str) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(model("sr_x4"))
    blocks = dense_blocks.find(changed.graph)
    block = blocks[0]
    if kind == "read twice":
        name = block.activations[0].output[0]
        changed.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    elif kind == "of other activations":
        block.activations[1].op_type = "Relu"
    else:
        block.convolutions[1].input[2] = block.convolutions[0].input[2]
    assert len(dense_blocks.find(changed.graph)) == len(blocks) - 1


def test_the_table_gives_rtx_a_form_and_others_the_graph_as_it_is() -> None:
    assert preferred("fp16", ("8.0", "8.9")) == "pass-through"
    assert preferred("fp16", ("7.5", "8.9")) == "sums"
    assert preferred("fp32", ("7.5", "8.9")) == preferred("fp32", ("8.9",)) == "sums"
    assert preferred("int8", ("8.9",)) == "flat"
    assert EngineOptions("tensorrt-rtx").form_of("fp16") == "pass-through"
    assert EngineOptions("tensorrt").form_of("fp16") == "flat"
    assert EngineOptions("tensorrt", form="sums").form_of("fp16") == "sums"
