"""ONNX Runtime's GPU providers get the GPU's number, the graph's own types, and a trusted cache."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
from onnx import numpy_helper

from runtime import backends
from runtime.backends import onnxruntime
from runtime.bundle.graph_entry import Numerics
from runtime.errors import BackendError
from tests.support.bundles import inverse_graph

NUMERICS = Numerics(True, "float32", "f32")
PROVIDERS = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What a session is asked for, of an ONNX Runtime that has both providers."""
    found = list[Any]()

    def session(graph: bytes, options: Any, providers: list[Any]) -> Any:
        found[:] = providers
        names = [each if isinstance(each, str) else each[0] for each in providers]
        entry = SimpleNamespace(name="lr", shape=[1, 3, "H", "W"])
        return SimpleNamespace(
            get_providers=lambda: names, get_outputs=list, get_inputs=lambda: [entry]
        )

    fake = SimpleNamespace(
        get_available_providers=lambda: PROVIDERS,
        InferenceSession=session,
        SessionOptions=SimpleNamespace,
    )
    monkeypatch.setattr(onnxruntime, "_onnxruntime", lambda: fake)
    monkeypatch.setenv("HCFLOW_CACHE", str(tmp_path / "cache"))
    return found


def test_cuda_gets_the_number_of_the_gpu_and_the_graphs_tf32(asked: list[Any]) -> None:
    backends.open_session("onnxruntime-cuda", inverse_graph(True), NUMERICS, 1, device=3)
    assert asked[0] == ("CUDAExecutionProvider", {"device_id": "3", "use_tf32": "1"})


def test_tensorrt_runs_in_the_graphs_own_types_on_that_gpu(asked: list[Any]) -> None:
    backends.open_session("onnxruntime-tensorrt", inverse_graph(True), NUMERICS, 1, device=2)
    (name, options), (_, cuda), _ = asked
    assert name == "TensorrtExecutionProvider"
    assert (options["device_id"], cuda["device_id"]) == ("2", "2")
    assert not {"trt_fp16_enable", "trt_int8_enable", "trt_bf16_enable"} & options.keys()


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="no owners here")
def test_engines_of_onnx_runtime_are_kept_where_nobody_else_writes(
    asked: list[Any], tmp_path: Path
) -> None:
    folder = tmp_path / "cache" / "engines" / "onnxruntime"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(BackendError, match="can be written by everyone, and an engine is code"):
        backends.open_session("onnxruntime-tensorrt", inverse_graph(True), NUMERICS, 1)
    folder.chmod(0o700)
    backends.open_session("onnxruntime-tensorrt", inverse_graph(True), NUMERICS, 1)
    assert Path(asked[0][1]["trt_engine_cache_path"]).parent == folder


def engine_folder(asked: list[Any], graph: bytes, numerics: Numerics = NUMERICS) -> Path:
    """Where ONNX Runtime is told to keep the engines of a graph."""
    backends.open_session("onnxruntime-tensorrt", graph, numerics, 1)
    return Path(asked[0][1]["trt_engine_cache_path"])


def test_a_model_never_reads_the_engine_of_another_with_the_same_layers(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    graph = inverse_graph(True)
    model = onnx.load_from_string(graph)
    weights = model.graph.initializer[0]
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) + 1, weights.name))
    own = engine_folder(asked, graph)
    assert own == engine_folder(asked, graph)
    assert own.is_dir()
    assert own != engine_folder(asked, model.SerializeToString())
    assert own != engine_folder(asked, graph, Numerics(False, "float32", "f32"))
