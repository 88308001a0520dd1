"""How an image will be computed: the tiles asked for, and what memory allows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import runtime
from runtime import ImageError, Model, ParameterError
from runtime.bundle.manifest import Graph, Numerics, Precision, RecordedGrid
from runtime.inference.grid import Grid, Tiling
from runtime.inference.plan import plan_for
from runtime.inference.report import Certified, Report
from runtime.system import machine
from tests.support.bundles import write_bundle
from tests.support.noise import noise


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 0}, "tile is 0: it must be 1 or more"),
        ({"tile": -4}, "tile is -4"),
        ({"overlap": -1}, "overlap is -1: it must be 0 or more"),
        ({"tile": 8, "overlap": 9}, "overlap 9 is larger than tile 8"),
    ],
)
def test_tiles_that_make_no_sense_are_refused(
    tiny_model: Model, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        tiny_model.upscale(noise(9, 9), **options)


def test_a_graph_without_a_grid_needs_both_and_a_tile_beyond_the_image_is_the_image(
    tmp_path: Path,
) -> None:
    model = runtime.load(write_bundle(tmp_path / "whole"))
    with pytest.raises(ParameterError, match="states no tiles of its own: give overlap as well"):
        model.upscale(noise(9, 9), tile=4)
    report = Report()
    model.upscale(noise(9, 9), tile=1000, overlap=3, report=report)
    assert report.tiles == 1


def test_too_little_memory_takes_fewer_in_flight_then_a_smaller_tile_and_then_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_bundle(tmp_path / "b", tile=64, overlap=2, bytes_per_lr_pixel=1_000_000)
    network = runtime.load(folder).network
    monkeypatch.setattr(machine, "usable_cpus", lambda: 16)
    one = 2_000_000 * 68 * 68
    for have, in_flight, tile in ((10 * one, 4, 64), (4.5 * one, 2, 64), (1.2 * one, 1, 64)):
        monkeypatch.setattr(machine, "available_memory", lambda have=have: int(have))
        plan = plan_for(network, "inverse", 196, 196)
        assert (plan.in_flight, plan.grid.tile) == (in_flight, tile)
    assert not caplog.records
    monkeypatch.setattr(machine, "available_memory", lambda: one // 2)
    assert plan_for(network, "inverse", 196, 196).grid.tile == 32
    assert "memory is short: tiles of 32 low-resolution pixels in place of 64" in caplog.text
    assert plan_for(network, "inverse", 64, 64).grid.tile == 32
    monkeypatch.setattr(machine, "available_memory", lambda: one // 40)
    with pytest.raises(ImageError, match="a low-resolution size of 20×20 needs about"):
        plan_for(network, "inverse", 196, 196)


GRAPH = Graph(
    direction="inverse",
    precision="int8",
    latents=True,
    io="float32",
    contract=1,
    opset=20,
    file="inverse.onnx",
    sha256="0" * 64,
    bytes=1,
    nodes=1,
    bytes_per_lr_pixel=1_000,
    numerics=Numerics(False, "float32", "f32"),
    within_budget=True,
    parity=(),
)
GRIDS = (RecordedGrid(64, 2), RecordedGrid(40, 2), RecordedGrid(24, 4))


def test_short_memory_takes_a_recorded_grid_and_reports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"tile": 64, "overlap": 2, "grids": GRIDS, "bytes_per_lr_pixel": 1_000}
    model = runtime.load(write_bundle(tmp_path / "b", **entry))
    blocks = 2 * 12 * 16 * 132
    taken = []
    for window in (68, 67, 36, 35, 29):
        have = 2_000 * window**2 + blocks * window
        monkeypatch.setattr(machine, "available_memory", lambda have=have: have)
        plan = plan_for(model.network, "inverse", 132, 132)
        taken.append((plan.grid.tile, plan.grid.overlap, plan.memory_short))
        assert max(plan.grid.window) <= window
    assert taken == [(64, 2, False), (40, 2, True), (40, 2, True), (24, 4, True), (24, 4, True)]
    report = Report()
    model.upscale(noise(132, 132), report=report)
    assert (report.tile, report.memory_short) == (24, True)
    monkeypatch.setattr(machine, "available_memory", lambda: 2_000 * 28**2)
    anew = runtime.load(tmp_path / "b")  # no memory of an earlier run that counts as free
    with pytest.raises(ImageError, match="needs about"):
        plan_for(anew.network, "inverse", 132, 132)


def test_short_memory_keeps_the_overlap_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"tile": 64, "overlap": 2, "grids": GRIDS, "bytes_per_lr_pixel": 1_000}
    network = runtime.load(write_bundle(tmp_path / "b", **entry)).network
    monkeypatch.setattr(machine, "available_memory", lambda: 2_000 * 52**2 + 24 * 16 * 112 * 52)
    plan = plan_for(network, "inverse", 112, 112, tiling=Tiling(tile=50, overlap=6))
    assert (plan.grid.tile, plan.grid.overlap, plan.memory_short) == (40, 6, True)


@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from(GRIDS), st.integers(0, 8))
def test_every_window_belongs_to_a_size_class(
    height: int, width: int, grid: RecordedGrid, border: int
) -> None:
    graph = replace(GRAPH, tile=64, overlap=2, grids=GRIDS, border=border)
    assert graph.window_classes == (32, 44, 68)
    assert max(Grid(height, width, grid.tile, grid.overlap, border).window) <= grid.window


def test_an_overlap_of_0_on_int8_is_allowed_and_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_bundle(tmp_path / "b", precision="int8", tile=16, overlap=4)
    model = runtime.load(folder, precision="int8")
    model.upscale(noise(60, 60))
    assert not caplog.records
    report = Report()
    assert model.upscale(noise(60, 60), overlap=0, report=report).shape == (240, 240, 3)
    assert report.disagreement is None
    assert report.warnings() == [
        "an overlap of 0 is less than the 4 that int8 was measured to need: tile borders may show"
    ]


@pytest.mark.parametrize(
    ("precision", "neighbours", "warned"),
    [
        ("int8", 9 / 255, False),
        ("int8", 4 / 255, True),
        ("int8", 1.0, False),
        ("fp32", 9 / 255, True),
    ],
)
def test_neighbours_below_fp32_may_differ_by_twice_what_the_build_measured(
    tmp_path: Path, precision: Precision, neighbours: float, warned: bool
) -> None:
    folder = write_bundle(tmp_path / "b", precision=precision, neighbours=neighbours, tile=16)
    report = Report(disagreement=15 / 255)
    graph = runtime.Bundle.open(folder).manifest.graphs[0]
    grid = Grid(32, 32, 16, 0)
    report.start(precision, grid, 1, certified=Certified.of(graph), memory_short=False)
    assert bool(report.warnings()) == warned
    report.disagreement = 17 / 255  # whatever one far pixel made of the figure
    assert report.warnings()


def test_memory_that_an_earlier_run_holds_counts_as_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bundle(tmp_path / "b", tile=32, overlap=2, bytes_per_lr_pixel=1000)
    model = runtime.load(folder)
    grids = []
    for have in (2_700_000 + 2_000_000, 2_000_000):
        monkeypatch.setattr(machine, "available_memory", lambda have=have: have)
        report = Report()
        model.upscale(noise(80, 80), report=report)
        grids.append(report.tile)
    assert grids == [32, 32]


def test_an_image_one_pixel_wide_is_tiled_like_any_other(tmp_path: Path) -> None:
    entry = {"tile": 1000, "overlap": 12, "border": 6, "precision": "int8"}
    model = runtime.load(write_bundle(tmp_path / "b", **entry), precision="int8")
    for shape in ((100_000, 1), (1, 100_000)):
        plan = plan_for(model.network, "inverse", *shape)
        assert sorted(plan.grid.window) == [13, 1024]
        assert plan.grid.rows * plan.grid.columns == 100
    report = Report()
    assert model.upscale(noise(100_000, 1), report=report).shape == (400_000, 4, 3)
    assert report.tiles == 100


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_window_larger_than_memory_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: Precision
) -> None:
    entry = {"tile": 64, "overlap": 2, "grids": GRIDS, "bytes_per_lr_pixel": 1_000}
    folder = write_bundle(tmp_path / "b", precision=precision, **entry)
    model = runtime.load(folder, precision=precision)
    monkeypatch.setattr(machine, "available_memory", lambda: 1_000_000)
    with pytest.raises(ImageError, match=r"^a low-resolution size of 29×29 needs about .* GB"):
        model.upscale(noise(132, 132))
