"""Real engines by the real TensorRT-RTX, which compiles on a machine without a GPU."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from export.engine.compile import compile_graph
from export.engine.options import RTX_CAPABILITIES, EngineOptions
from export.errors import ExportError
from export.graph import uint8_boundary
from tests.support.engine_graphs import NETWORKS, SIZES, int8_bytes, onnx_bytes, ranges

pytest.importorskip("tensorrt_rtx", reason="the package tensorrt-rtx-cu13 (240 MB)")

OPTIONS = EngineOptions("tensorrt-rtx", SIZES)
ONE_GPU = replace(OPTIONS, compute_capabilities=("8.9",))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("direction", ["inverse", "forward"])
@pytest.mark.parametrize(
    "precision",
    [
        "fp16",
        pytest.param("fp32", marks=pytest.mark.slow),
        pytest.param("int8", marks=pytest.mark.slow),
    ],
)
def test_every_graph_compiles_for_four_generations_of_gpu_in_one_engine(
    network: str, direction: str, precision: str, tmp_path: Path
) -> None:
    if precision == "int8":
        data = int8_bytes(network, direction, tmp_path)
    else:
        data = onnx_bytes(network, direction, precision)
    assert OPTIONS.targets() == RTX_CAPABILITIES == ("8.0", "8.6", "8.9", "12.0")
    compiled = compile_graph(data, (ranges(data),), precision, OPTIONS)  # type: ignore[arg-type]
    memory = compiled.record.memory()
    assert len(compiled.data) > 100_000
    assert memory.scratch
    assert memory.weights
    assert memory.activations
    assert compiled.layers is None  # what was realised only a GPU can tell
    assert not compiled.record.warnings


@pytest.mark.parametrize("direction", ["inverse", "forward"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_graphs_of_bytes_compile(direction: str, precision: str) -> None:
    floats = onnx_bytes("rescale_x4", direction, precision)
    data = ir.to_proto(uint8_boundary.convert(floats)).SerializeToString()
    compiled = compile_graph(data, (ranges(data),), precision, ONE_GPU)  # type: ignore[arg-type]
    assert not compiled.record.warnings


def test_turing_gets_an_engine_of_its_own() -> None:
    data = onnx_bytes("rescale_x4", "inverse", "fp16")
    options = replace(OPTIONS, compute_capabilities=("7.5",))
    assert compile_graph(data, (ranges(data),), "fp16", options).data


def test_progress_runs_forward_and_reaches_the_last_phase() -> None:
    data = onnx_bytes("rescale_x4", "inverse", "fp16")
    seen: list[tuple[str, float]] = []
    compile_graph(data, (ranges(data),), "fp16", ONE_GPU, lambda *step: seen.append(step))
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert shares[-1] > 0.8
    assert "Building engine" in {phase for phase, _ in seen}


def test_an_interrupt_ends_the_compilation_and_is_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = onnx_bytes("rescale_x4", "inverse", "fp16")
    join, before = threading.Thread.join, set(threading.enumerate())

    def interrupted(self: threading.Thread, timeout: float | None = None) -> None:
        join(self, timeout)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compile_graph(data, (ranges(data),), "fp16", ONE_GPU)
    monkeypatch.undo()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def test_a_refused_node_is_named_with_its_operator_its_line_and_a_way_out() -> None:
    model = onnx.load_from_string(onnx_bytes("rescale_x4", "inverse", "fp32"))
    node = next(n for n in model.graph.node if n.op_type == "LeakyRelu")
    node.op_type = "LeakyRelvet"
    data = model.SerializeToString()
    with pytest.raises(ExportError) as error:
        compile_graph(data, (ranges(data),), "fp32", ONE_GPU)
    message = str(error.value)
    assert f"node '{node.name}' (LeakyRelvet, number" in message
    assert "= LeakyRelvet <alpha" in message
    assert "build the bundle again" in message
    assert "\n" not in message


def test_a_graph_that_is_no_onnx_is_refused_in_one_line() -> None:
    data = onnx_bytes("rescale_x4", "inverse", "fp32")
    with pytest.raises(ExportError, match="cannot read the graph"):
        compile_graph(data[:2000], (ranges(data),), "fp32", ONE_GPU)


def test_too_little_workspace_is_said_as_such_with_what_would_fit() -> None:
    data = onnx_bytes("rescale_x4", "inverse", "fp16")
    tight = replace(ONE_GPU, workspace=1 << 20, sizes=replace(SIZES, largest=(512, 512)))
    with pytest.raises(ExportError) as error:
        compile_graph(data, (ranges(data, tight.sizes),), "fp16", tight)
    message = str(error.value)
    assert message.startswith("out of memory")
    found = re.search(r"--workspace (\d+)M", message)
    assert found
    enough = replace(tight, workspace=int(found[1]) << 20)
    assert compile_graph(data, (ranges(data, tight.sizes),), "fp16", enough).data
    if smaller := re.search(r"--max (\d+)x(\d+)", message):
        fits = replace(tight.sizes, largest=(int(smaller[1]), int(smaller[2])))
        assert compile_graph(data, (ranges(data, fits),), "fp16", replace(tight, sizes=fits)).data


def test_a_gpu_that_the_library_does_not_know_is_refused_with_those_it_knows() -> None:
    data = onnx_bytes("rescale_x4", "inverse", "fp32")
    options = replace(OPTIONS, compute_capabilities=("6.1",))
    with pytest.raises(ExportError, match=r"compiles for 7\.5, 8\.0"):
        compile_graph(data, (ranges(data),), "fp32", options)


def test_refitting_without_a_gpu_is_refused_before_the_compiler_fails() -> None:
    data = onnx_bytes("rescale_x4", "inverse", "fp32")
    with pytest.raises(ExportError, match=r"--refit needs a GPU"):
        compile_graph(data, (ranges(data),), "fp32", replace(OPTIONS, refittable=True))
