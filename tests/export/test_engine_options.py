"""What the options of a compilation mean: sizes and the shapes that follow, bytes, libraries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from export.engine.options import EngineOptions, parse_bytes
from export.engine.profile import Sizes, parse, profile
from export.errors import ExportError
from runtime.bundle.engine_entry import Range
from runtime.bundle.reader import Bundle
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
