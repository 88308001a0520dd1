"""`--precision auto` takes what the processor is fast at, within what was measured."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

import runtime
from runtime import choice
from runtime.backends import automatic
from runtime.manifest import Manifest
from tests.bundles import write_bundle

VNNI = {"avx2", "avx512f", "avx512_vnni"}


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A bundle with both directions in fp32 and int8, all within budget."""
    single = runtime.Bundle.open(write_bundle(tmp_path / "b")).manifest
    bytes_ = tuple(replace(graph, precision="int8") for graph in single.graphs)
    return replace(single, graphs=(*single.graphs, *bytes_))


@pytest.mark.parametrize("flags", [VNNI, {"avx_vnni"}, {"asimddp"}, {"amx_int8"}])
def test_a_processor_that_multiplies_bytes_gets_int8(manifest: Manifest, flags: set[str]) -> None:
    assert choice.precision(manifest, "openvino", flags) == "int8"


@pytest.mark.parametrize("flags", [set(), {"avx2"}, {"avx512f", "avx512_bf16"}])
def test_any_other_gets_float32(manifest: Manifest, flags: set[str]) -> None:
    assert choice.precision(manifest, "openvino", flags) == "fp32"


def test_a_graph_that_missed_its_budget_is_never_chosen(manifest: Manifest) -> None:
    graphs = tuple(
        replace(g, within_budget=g.precision != "int8" or g.direction == "forward")
        for g in manifest.graphs
    )
    assert choice.precision(replace(manifest, graphs=graphs), "openvino", VNNI) == "fp32"


def test_a_bundle_without_int8_runs_in_float32(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b")
    assert choice.precision(runtime.Bundle.open(folder).manifest, "openvino", VNNI) == "fp32"
    assert runtime.load(folder, precision="auto").scale == 4


@pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime-cuda", "tensorrt"])
def test_only_openvino_is_given_int8(manifest: Manifest, backend: str) -> None:
    assert choice.precision(manifest, backend, VNNI) == "fp32"


def test_auto_is_judged_by_the_backend_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"onnxruntime", "openvino"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: name if name in installed else None
    )
    assert automatic.name("auto") == "openvino"
    installed.remove("openvino")
    assert automatic.name("auto") == "onnxruntime"
    assert automatic.name("tensorrt") == "tensorrt"
