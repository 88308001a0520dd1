"""`--precision auto` takes what the processor is fast at, within what was measured."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import runtime
from hcflow.models import shipped
from runtime.backends import auto
from runtime.bundle.manifest import Manifest, Precision
from runtime.convert import image
from runtime.convert.job import Job
from runtime.images.codecs.formats import Photo
from runtime.inference.auto import cpu_precision
from runtime.inference.grid import Grid
from runtime.inference.network import Network
from runtime.inference.plan import plan_for
from runtime.inference.report import Report
from runtime.system import machine
from tests.support.bundles import write_bundle
from tests.support.one_model import OneModel

VNNI = {"avx2", "avx512f", "avx512_vnni"}


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """A bundle with both directions in fp32 and int8, all within budget."""
    single = runtime.Bundle.open(write_bundle(tmp_path / "b")).manifest
    bytes_ = tuple(replace(graph, precision="int8") for graph in single.graphs)
    return replace(single, graphs=(*single.graphs, *bytes_))


@pytest.mark.parametrize("flags", [VNNI, {"avx_vnni"}, {"asimddp"}, {"amx_int8"}])
def test_a_processor_that_multiplies_bytes_gets_int8(manifest: Manifest, flags: set[str]) -> None:
    assert cpu_precision.precisions(manifest, "openvino", flags) == ("int8", "fp32")


@pytest.mark.parametrize(
    ("flags", "cost"),
    [(VNNI, 0.42), ({"avx2", "avx_vnni"}, 0.42), ({"avx2"}, 0.65), ({"avx2", "avx512f"}, 0.90)],
)
def test_a_table_of_measured_costs_decides(
    manifest: Manifest, flags: set[str], cost: float
) -> None:
    assert cpu_precision.int8_cost(flags) == cost
    taken = cpu_precision.precisions(manifest, "openvino", flags)
    assert taken == (("int8", "fp32") if cost < 0.8 else ("fp32",))


@pytest.mark.parametrize("flags", [set(), {"sse4_2"}, {"avx512f", "avx512_bf16"}, {"asimd"}])
def test_a_processor_that_was_not_measured_gets_float32(
    manifest: Manifest, flags: set[str]
) -> None:
    assert cpu_precision.precisions(manifest, "openvino", flags) == ("fp32",)


def test_a_graph_that_missed_its_budget_is_never_chosen(manifest: Manifest) -> None:
    graphs = tuple(
        replace(g, within_budget=g.precision != "int8" or g.direction == "forward")
        for g in manifest.graphs
    )
    assert cpu_precision.precisions(replace(manifest, graphs=graphs), "openvino", VNNI) == ("fp32",)


@pytest.mark.parametrize("change", [{"io": "uint8"}, {"latents": False}])
def test_an_int8_graph_that_cannot_take_fp32s_place_is_never_chosen(
    manifest: Manifest, change: dict[str, Any]
) -> None:
    graphs = tuple(replace(g, **change) if g.precision == "int8" else g for g in manifest.graphs)
    changed = replace(manifest, graphs=graphs)
    assert cpu_precision.precisions(changed, "openvino", VNNI) == ("fp32",)


def test_a_bundle_without_int8_runs_in_float32(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b")
    assert cpu_precision.precisions(runtime.Bundle.open(folder).manifest, "openvino", VNNI) == (
        "fp32",
    )
    assert runtime.load(folder, precision="auto").scale == 4


@pytest.mark.parametrize("backend", ["onnxruntime", "onnxruntime-cuda", "tensorrt"])
def test_only_openvino_is_given_int8(manifest: Manifest, backend: str) -> None:
    assert cpu_precision.precisions(manifest, backend, VNNI) == ("fp32",)


def test_auto_is_judged_by_the_backend_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"onnxruntime", "openvino"}
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: name if name in installed else None
    )
    assert auto.name("auto") == "openvino"
    installed.remove("openvino")
    assert auto.name("auto") == "onnxruntime"
    assert auto.name("tensorrt") == "tensorrt"


def grids(height: int, width: int) -> dict[Precision, Grid]:
    """Grids of an earlier rescaling inverse: INT8 needs six times the overlap of fp32."""
    return {"int8": Grid(height, width, 184, 48), "fp32": Grid(height, width, 264, 8)}


@pytest.mark.parametrize(("height", "width"), [(64, 64), (280, 280), (240, 300)])
def test_one_window_is_computed_in_int8(height: int, width: int) -> None:
    assert cpu_precision.cheapest(grids(height, width), 0.42) == "int8"


def test_int8_is_left_where_its_overlaps_cost_more_than_it_wins() -> None:
    many = {"int8": Grid(2000, 2000, 48, 48), "fp32": Grid(2000, 2000, 264, 8)}
    assert cpu_precision.cheapest(many, 0.42) == "fp32"


@pytest.mark.parametrize(("side", "taken"), [(280, "int8"), (281, "fp32"), (9999, "fp32")])
def test_int8_never_runs_whole_what_fp32_cuts(side: int, taken: Precision) -> None:
    grids = {"int8": Grid.whole(side, side), "fp32": Grid(side, side, 264, 8)}
    assert cpu_precision.cheapest(grids, 0.42) == taken


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 300), st.integers(0, 64))
def test_what_is_chosen_never_costs_more_than_fp32(
    height: int, width: int, tile: int, overlap: int
) -> None:
    both = {"int8": Grid(height, width, tile, overlap), "fp32": Grid(height, width, 264, 8)}

    def cost(name: Precision) -> float:
        rows, columns = both[name].window
        pixel = 0.42 if name == "int8" else 1.0
        return pixel * both[name].rows * both[name].columns * rows * columns

    assert cost(cpu_precision.cheapest(both, 0.42)) <= cost("fp32")
    same: dict[Precision, Grid] = {"int8": both["fp32"], "fp32": both["fp32"]}
    assert cpu_precision.cheapest(same, 0.42) == "int8"


def test_auto_chooses_for_each_image_and_says_what_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bundle(tmp_path / "b", tile=16, overlap=2)
    manifest = runtime.Bundle.open(folder).manifest
    low = tuple(replace(g, precision="int8", overlap=16) for g in manifest.graphs)
    both = replace(manifest, graphs=(*manifest.graphs, *low))
    (folder / "manifest.json").write_text(both.to_json(), encoding="utf-8")
    monkeypatch.setattr(auto, "name", lambda backend: "openvino")
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset(VNNI))
    model = runtime.load(folder, precision="auto")
    taken = {}
    for side in (20, 200):
        report = Report()
        model.upscale(np.zeros((side, side, 3), np.uint8), report=report)
        taken[side] = report.precision, report.overlap
    assert taken == {20: ("int8", 16), 200: ("fp32", 2)}
    photo = Photo(Image.new("RGB", (800, 800)))
    made = image.downscale(Job("downscale", OneModel(model), round_trip=False), model, photo, "PNG")
    assert made.record is not None
    assert made.record.precision == "fp32"


@pytest.mark.parametrize("name", ["rescale_x4", "sr_x4"])
@pytest.mark.parametrize("flags", [VNNI, {"avx2"}])
@pytest.mark.parametrize("side", [40, 300, 4000])
def test_int8_of_shipped_models_serves_every_size(
    monkeypatch: pytest.MonkeyPatch, name: str, flags: set[str], side: int
) -> None:
    bundle = runtime.Bundle.open(shipped.resolve(name))
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(machine, "available_memory", lambda: None)
    network = Network(bundle, "openvino", ("int8", "fp32"), 1)
    for direction, factor in (("inverse", 1), ("forward", bundle.manifest.scale)):
        plan = plan_for(network, direction, factor * side, factor * side)  # type: ignore[arg-type]
        assert plan.precision == "int8"
        graph = bundle.graph(direction, "int8", None)  # type: ignore[arg-type]
        assert (plan.grid.tile, plan.grid.overlap) == (graph.tile, graph.overlap)


def test_int8_of_an_older_manifest_runs_images_of_one_window_and_fp32_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bundle(tmp_path / "b", tile=16, overlap=2)
    manifest = runtime.Bundle.open(folder).manifest
    low = tuple(replace(g, precision="int8", tile=None, overlap=None) for g in manifest.graphs)
    facts = json.loads(replace(manifest, graphs=(*manifest.graphs, *low)).to_json())
    for graph in facts["graphs"]:
        for key in ("grids", "seams", "tiled_losses", "neighbours"):
            del graph[key]
    (folder / "manifest.json").write_text(json.dumps(facts), encoding="utf-8")
    monkeypatch.setattr(auto, "name", lambda backend: "openvino")
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset(VNNI))
    model = runtime.load(folder, precision="auto")
    taken = []
    for side in (20, 21):
        report = Report()
        model.upscale(np.zeros((side, side, 3), np.uint8), report=report)
        taken.append(report.precision)
    assert taken == ["int8", "fp32"]
