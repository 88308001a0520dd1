"""What the options of a compilation mean: sizes and the shapes that follow, bytes, libraries."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.engine.options import EngineOptions, parse_bytes
from export.engine.profile import Sizes, parse, profile
from export.errors import ExportError
from runtime.bundle.engines.entry import Range
from runtime.bundle.graph_entry import Graph, RecordedGrid
from runtime.bundle.reader import Bundle
from runtime.inference.grid import Grid
from tests.support.bundles import write_bundle
from tests.support.engine_graphs import onnx_bytes, ranges


def test_shapes_follow_from_lr_sizes_by_the_names_of_the_dimensions() -> None:
    inverse = ranges(onnx_bytes("sr_x8", "inverse", "fp32"))
    assert inverse["lr"] == Range((1, 3, 8, 8), (1, 3, 16, 16), (1, 3, 32, 32))
    assert inverse["z1"].best == (1, 6, 64, 64)
    forward = ranges(onnx_bytes("sr_x8", "forward", "fp32"), Sizes((1, 2), (3, 4), (5, 6), 7))
    assert forward["hr"] == Range((1, 3, 8, 16), (7, 3, 24, 32), (7, 3, 40, 48))


def test_sizes_left_out_follow_the_tile_or_the_sizes_given(tmp_path: Path) -> None:
    graph = Bundle.open(write_bundle(tmp_path / "b")).manifest.graphs[0]
    tiled = replace(graph, tile=96, overlap=16)
    assert Sizes().for_graph(tiled) == Sizes((8, 8), (128, 128), (128, 128))
    assert Sizes().for_graph(graph) == Sizes((8, 8), (64, 64), (256, 256))
    assert Sizes(largest=(4, 300)).for_graph(graph) == Sizes((4, 8), (4, 64), (4, 300))
    assert Sizes(smallest=(300, 300)).for_graph(graph).largest == (300, 300)
    large = Sizes(smallest=(300, 300)).for_graph(tiled)  # beyond the tile's window
    assert (large.best, large.largest) == ((300, 300), (300, 300))


GRIDS = tuple(RecordedGrid(tile, 12) for tile in (208, 104, 48, 24))


@functools.cache
def tiled_graph() -> Graph:
    with tempfile.TemporaryDirectory() as folder:
        graph = Bundle.open(write_bundle(Path(folder))).manifest.graphs[0]
    return replace(graph, tile=208, overlap=12, grids=GRIDS)


@functools.cache
def class_ranges() -> list[Range]:
    model = onnx.load_from_string(onnx_bytes("sr_x4", "inverse", "fp32"))
    return [profile(model, each)["lr"] for each in Sizes((1, 1)).profiles_for(tiled_graph())]


def test_an_engine_has_a_profile_for_the_windows_of_each_recorded_grid(tmp_path: Path) -> None:
    made = Sizes(batch=2).profiles_for(tiled_graph())
    windows = [(grid.window, grid.window) for grid in reversed(GRIDS)]
    assert [each.best for each in made] == [each.largest for each in made] == windows
    assert {each.smallest for each in made} == {(8, 8)}
    assert {each.batch for each in made} == {2}
    assert [each.best for each in Sizes((64, 64)).profiles_for(tiled_graph())] == windows[1:]
    for asked in (Sizes(best=(64, 64)), Sizes(largest=(96, 96)), Sizes((300, 300))):
        assert asked.profiles_for(tiled_graph()) == (asked.for_graph(tiled_graph()),)
    whole = Bundle.open(write_bundle(tmp_path / "b")).manifest.graphs[0]
    assert Sizes().profiles_for(whole) == (Sizes().for_graph(whole),)


@given(st.integers(1, 2000), st.integers(1, 2000), st.sampled_from(GRIDS), st.integers(0, 8))
def test_every_window_of_a_recorded_grid_runs_in_the_profile_of_its_size_class(
    height: int, width: int, recorded: RecordedGrid, border: int
) -> None:
    window = Grid(height, width, recorded.tile, recorded.overlap, border).window
    holding = [r for r in class_ranges() if r.holds((1, 3, *window))]
    assert holding
    (size,) = set(holding[0].best[2:])
    assert size == min(c for c in tiled_graph().window_classes if c >= max(window))


def test_sizes_out_of_order_are_refused_without_a_graph() -> None:
    with pytest.raises(ExportError, match="--min 9x9, --max 8x16 are not in order"):
        Sizes(smallest=(9, 9), largest=(8, 16))
    with pytest.raises(ExportError, match="not in order"):
        Sizes(best=(300, 300), largest=(128, 128))


def test_a_malformed_size_is_refused() -> None:
    assert parse("--max", "128x96") == (128, 96)
    for text in ("128", "0x5", "ax5", "-1x5", "12x"):
        with pytest.raises(ExportError, match="--max"):
            parse("--max", text)
    assert parse_bytes("--workspace", "1.5G") == 3 << 29
    for text in ("much", "0", "-1M"):
        with pytest.raises(ExportError, match="--workspace"):
            parse_bytes("--workspace", text)


def test_a_tensor_beyond_the_librarys_limit_is_refused_before_compiling() -> None:
    model = onnx.load_from_string(onnx_bytes("rescale_x4", "inverse", "fp32"))
    with pytest.raises(ExportError, match="2³¹ − 1"):
        profile(model, Sizes((8, 8), (8, 8), (40000, 40000)))


@pytest.mark.parametrize(
    ("library", "changes", "text"),
    [
        ("tensorrt", {"compute_capabilities": ("8.9",)}, "for the GPU it runs on"),
        ("tensorrt-rtx", {"timing_cache": Path("x")}, "--timing-cache is for TensorRT"),
        ("tensorrt-rtx", {"version_compatible": True}, "--version-compatible is for TensorRT"),
        ("tensorrt-rtx", {"hardware": "ampere+"}, "list the GPUs"),
        ("tensorrt-rtx", {"compute_capabilities": ("sm89",)}, "such as 8.9"),
    ],
)
def test_an_option_that_a_library_lacks_is_refused_with_what_it_has(
    library: str, changes: dict[str, object], text: str
) -> None:
    with pytest.raises(ExportError, match=text):
        EngineOptions(library, **changes)  # type: ignore[arg-type]
