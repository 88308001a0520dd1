"""`--precision auto` on a GPU: fp16 within budget, FP8 where the compiled program gains by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import runtime
from runtime import Bundle
from runtime.backends import auto
from runtime.bundle.engines.entry import Engine
from runtime.bundle.engines.program import Program
from runtime.bundle.graph_entry import Graph
from runtime.bundle.manifest import Manifest
from runtime.inference.auto import gpu_precision
from tests.support.bundles import write_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Both directions in fp32, fp16, int8 and, for TensorRT-RTX, fp8; all within budget."""
    made = write_bundle(tmp_path / "b")
    manifest = Bundle.open(made).manifest
    low = [replace(g, precision=cast(Any, p)) for p in ("fp16", "int8") for g in manifest.graphs]
    low += [replace(g, precision="fp8", target="rtx") for g in manifest.graphs]
    both = replace(manifest, graphs=(*manifest.graphs, *low))
    (made / "manifest.json").write_text(both.to_json(), encoding="utf-8")
    return made


@pytest.fixture
def manifest(folder: Path) -> Manifest:
    return Bundle.open(folder).manifest


def engine(moved: int | None, fp8: int = 0, fp16: int = 0) -> Engine:
    program = Program({}, 0, 0, moved, {"fp8": fp8, "fp16": fp16})
    return cast(Engine, SimpleNamespace(program=program))


def chosen(manifest: Manifest, backend: str, **engines: Sequence[Engine]) -> str:
    def of(graph: Graph) -> Sequence[Engine]:
        return engines.get(graph.precision, ())

    return gpu_precision.choose(manifest, backend, None, of)


def test_cuda_takes_fp16_within_its_budget(manifest: Manifest) -> None:
    assert chosen(manifest, "onnxruntime-cuda") == "fp16"
    missed = tuple(replace(g, within_budget=g.precision != "fp16") for g in manifest.graphs)
    assert chosen(replace(manifest, graphs=missed), "onnxruntime-cuda") == "fp32"
    one_way = tuple(g for g in manifest.graphs if g.precision != "fp16" or g.direction == "inverse")
    assert chosen(replace(manifest, graphs=one_way), "onnxruntime-cuda") == "fp32"


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt-rtx"])
def test_an_engine_library_takes_fp16_where_there_are_engines_of_it(
    manifest: Manifest, backend: str
) -> None:
    assert chosen(manifest, backend) == "fp32"
    assert chosen(manifest, backend, fp16=[engine(100)]) == "fp16"
    assert chosen(manifest, backend, int8=[engine(1)], fp16=[engine(100)]) == "fp16"


def test_a_graph_without_any_engine_does_not_decide(manifest: Manifest) -> None:
    def inverse_alone(graph: Graph) -> Sequence[Engine]:
        return [engine(100)] if (graph.direction, graph.precision) == ("inverse", "fp16") else ()

    assert gpu_precision.choose(manifest, "tensorrt-rtx", None, inverse_alone) == "fp16"
    missed = tuple(
        replace(g, within_budget=(g.direction, g.precision) != ("forward", "fp16"))
        for g in manifest.graphs
    )
    over = replace(manifest, graphs=missed)
    assert gpu_precision.choose(over, "tensorrt-rtx", None, inverse_alone) == "fp32"


def test_a_graph_of_a_contract_that_is_unknown_here_is_not_chosen(manifest: Manifest) -> None:
    later = tuple(replace(g, contract=2 if g.precision == "fp16" else 1) for g in manifest.graphs)
    found = replace(manifest, graphs=later)
    assert chosen(found, "tensorrt-rtx", fp16=[engine(100)]) == "fp32"


def test_what_is_compiled_for_auto_is_what_it_then_takes(manifest: Manifest) -> None:
    assert gpu_precision.to_compile(manifest, "tensorrt-rtx", None) == "fp16"
    missed = tuple(replace(g, within_budget=g.precision != "fp16") for g in manifest.graphs)
    for found in (manifest, replace(manifest, graphs=missed)):
        wanted = gpu_precision.to_compile(found, "tensorrt-rtx", None)
        assert chosen(found, "tensorrt-rtx", **{wanted: [engine(None)]}) == wanted


@pytest.mark.parametrize(
    ("low", "taken"),
    [
        (engine(80, fp8=95, fp16=5), "fp8"),
        (engine(95, fp8=95, fp16=5), "fp16"),  # moves nearly as much
        (engine(320, fp8=380, fp16=20), "fp8"),  # a window four times as large
        (engine(24, fp8=24, fp16=1), "fp16"),  # a smaller one, which moves nearly as much
        (engine(0, fp8=0, fp16=0), "fp16"),  # nothing is known of it
        (engine(80, fp8=50, fp16=50), "fp16"),  # half of it is not in FP8 after all
        (engine(None, fp8=95), "fp16"),  # unknown
    ],
)
def test_fp8_is_taken_where_its_program_is_in_fp8_and_moves_less(
    manifest: Manifest, low: Engine, taken: str
) -> None:
    half = [engine(100, fp16=100)]
    assert chosen(manifest, "tensorrt-rtx", fp8=[low], fp16=half) == taken
    assert chosen(manifest, "tensorrt-rtx", fp8=[low]) == "fp32"


def test_load_asks_for_it_on_a_gpu_backend_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "name", lambda name: "onnxruntime" if name == "auto" else name)
    cuda = runtime.load(folder, backend="onnxruntime-cuda", precision="auto")
    assert cuda.network.precisions == ("fp16",)
    assert runtime.load(folder, backend="onnxruntime", precision="auto").network.precisions == (
        "fp32",
    )
    assert runtime.load(folder, precision="auto").network.precisions == ("fp32",)
    rtx = runtime.load(folder, backend="tensorrt-rtx", precision="auto")
    assert rtx.network.precisions == ("fp32",)  # no engines
