"""Graphs that take and give bytes: what comes out is what the float graph gives, rounded."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from PIL import Image
from torch.fx import Graph, GraphModule

import runtime
from export.artifact import NUMERICS, Artifact, build_uint8
from export.graph import uint8_boundary
from export.pipeline import Request
from export.pipeline import build as build_bundle
from export.precision.lower import Lowered
from export.tile_grid import Options
from hcflow_ref.checkpoint.load import load
from runtime.backends import open_session
from runtime.bundle import uint8_images
from runtime.bundle.manifest import PRECISIONS, Loss
from runtime.checks.verify import check_graphs
from runtime.errors import BundleError, ParameterError
from runtime.inference.report import Report
from tests.support.bundles import write_bundle
from tests.support.engine_graphs import NETWORKS, onnx_bytes
from tests.support.golden_files import weights

SIZES = ((1, 1, 1), (2, 3, 5), (1, 17, 8))


@functools.cache
def graphs(network: str, direction: Any) -> tuple[bytes, bytes]:
    """A float graph and the same with bytes at its boundary."""
    floats = onnx_bytes(network, direction, "fp32")
    return floats, ir.to_proto(uint8_boundary.convert(floats)).SerializeToString()


def feeds(graph: bytes, n: int, height: int, width: int) -> dict[str, Any]:
    """Random 8-bit images, and latents."""
    random = np.random.default_rng(height)
    found: dict[str, Any] = {}
    for value in onnx.load_from_string(graph).graph.input:
        dims = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        sides = {"N": n, "H": height, "W": width}
        shape = [
            d if isinstance(d, int) else int(d[:-2] or 1) * sides[d[-1]] if len(d) > 1 else sides[d]
            for d in dims
        ]
        if value.name in uint8_images.IMAGES:
            found[value.name] = random.integers(0, 256, shape).astype(np.float32) / np.float32(255)
        else:
            found[value.name] = random.standard_normal(shape, np.float32)
    return found


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("direction", ["inverse", "forward"])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_bytes_are_those_of_the_float_graph_rounded(
    network: str, direction: str, backend: str
) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    floats, byte_graph = graphs(network, direction)
    image = "hr" if direction == "inverse" else "lr"
    sessions = [open_session(backend, each, NUMERICS, 1) for each in (floats, byte_graph)]
    for size in SIZES:
        values = feeds(floats, *size)
        exact = sessions[0].run(values)[image]
        outputs = sessions[1].run(uint8_images.inputs(values))
        assert outputs[image].dtype == np.uint8
        want = np.rint(np.clip(exact, 0, 1) * np.float32(255)).transpose(0, 2, 3, 1)
        off = np.abs(outputs[image].astype(int) - want)
        if backend == "onnxruntime":
            assert off.max() == 0
        # OpenVINO rounds a graph's last operations in another order: a tie may fall either way.
        ties = np.abs(exact * 255 % 1 - 0.5).transpose(0, 2, 3, 1) < 1e-3
        assert off[~ties].max(initial=0) == 0
        assert off.max() <= 1
        beyond = np.abs(exact - np.clip(exact, -2, 3)).sum(axis=(1, 2, 3))
        assert outputs["health"] == pytest.approx(beyond, rel=1e-5)


def test_a_byte_graph_leaves_out_what_nobody_asked_for() -> None:
    floats, byte_graph = graphs("sr_x4", "forward")
    assert [v.name for v in onnx.load_from_string(byte_graph).graph.output] == ["lr", "health"]
    assert len(byte_graph) < len(floats) / 2  # no features, no prior


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_health_tells_of_what_clipping_hides(bad: float, backend: str) -> None:
    if backend == "openvino":
        pytest.importorskip("openvino")
    floats, byte_graph = graphs("rescale_x4", "inverse")
    values = feeds(floats, 2, 8, 8)
    values["z2"][1, 0, 2, 3] = bad
    session = open_session(backend, byte_graph, NUMERICS, 1)
    outputs = session.run(uint8_images.inputs(values))
    assert np.isfinite(outputs["health"][0])
    assert not np.isfinite(outputs["health"][1])


def test_health_is_above_zero_where_pixels_saturate() -> None:
    floats, byte_graph = graphs("rescale_x4", "inverse")
    values = feeds(floats, 1, 8, 8)
    values["z1"] *= 1e6
    session = open_session("onnxruntime", byte_graph, NUMERICS, 1)
    health = session.run(uint8_images.inputs(values))["health"]
    assert np.isfinite(health).all()
    assert health[0] > 0


def test_images_of_more_than_eight_bits_are_refused_and_nan_is() -> None:
    for value in (0.5, np.nan, 1.5):
        with pytest.raises(ParameterError, match=r"8 bits a channel.*--io float32"):
            uint8_images.to_bytes(np.full((1, 3, 2, 2), value, np.float32))


def test_a_build_holds_the_bytes_beside_the_floats_and_both_verify(tmp_path: Path) -> None:
    request = Request("mine", ("inverse",), io="uint8", tiling=Options(tile=16, overlap=4))
    build_bundle(load(weights("rescale_x4")), tmp_path / "mine", request)
    made = runtime.Bundle.open(tmp_path / "mine")
    floats, byte_graph = made.manifest.graphs
    assert (floats.io, byte_graph.io) == ("float32", "uint8")
    assert (byte_graph.tile, byte_graph.overlap) == (16, 4)
    assert {row.case for row in byte_graph.parity} == {"astronaut", "1x1", "3x5"}
    checks = list(check_graphs(made, "onnxruntime"))
    assert all(check.comparison.ok for check in checks)
    assert [c.graph.io for c in checks].count("uint8") == [c.graph.io for c in checks].count(
        "float32"
    )


def test_the_report_of_a_graph_of_bytes_is_its_own_and_says_what_was_measured(
    tmp_path: Path,
) -> None:
    model = ir.from_proto(onnx.load_from_string(onnx_bytes("rescale_x4", "inverse", "fp16")))
    model.metadata_props["hcflow.checkpoint_sha256"] = "5" * 64
    losses = (Loss("cat", 0.0, 60.0, np.inf),)
    (entry,) = runtime.Bundle.open(
        write_bundle(tmp_path / "b", directions=["inverse"], precision="fp16", losses=losses)
    ).manifest.graphs
    lowered = Lowered(GraphModule({}, Graph()), {}, None, (), {})
    data = ir.to_proto(model).SerializeToString()
    made = build_uint8(Artifact(data, entry, {"report.old.json": b""}, lowered), [])
    assert made.entry.report == next(iter(made.files))
    figures = json.loads(made.files[made.entry.report], parse_constant=pytest.fail)
    assert figures["losses"][0]["loss_db"] is None
    assert figures["graph"] == made.entry.file
    assert figures["bytes"] == len(made.data)
    assert figures["checkpoint"] == "5" * 64
    assert (figures["io"], figures["measured"][:23]) == ("uint8", "losses and pictures are")
    (page,) = (text.decode() for name, text in made.files.items() if name.endswith(".html"))
    assert made.entry.file in page
    assert "losses and pictures are of the same graph with float32 images" in page


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network: fp32 with either boundary, fp16 with bytes alone."""
    folder = write_bundle(tmp_path_factory.mktemp("bundles") / "tiny")
    manifest = runtime.Bundle.open(folder).manifest
    made = []
    for entry in manifest.graphs:
        data = ir.to_proto(
            uint8_boundary.convert((folder / entry.file).read_bytes())
        ).SerializeToString()
        digest = hashlib.sha256(data).hexdigest()
        latents = entry.direction == "inverse"
        for precision in PRECISIONS[:2]:
            file = f"{entry.direction}.{precision}.uint8.onnx"
            (folder / file).write_bytes(data)
            made.append(
                replace(
                    entry,
                    precision=precision,
                    io="uint8",
                    file=file,
                    sha256=digest,
                    bytes=len(data),
                    latents=latents,
                )
            )
    manifest = replace(manifest, graphs=(*manifest.graphs, *made))
    (folder / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    return folder


def photograph() -> Image.Image:
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (30, 50, 3), np.uint8))


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_images_are_the_same_through_either_boundary_tiled_too(bundle: Path, tau: float) -> None:
    floats, byte_model = (runtime.load(bundle, io=io) for io in ("float32", "uint8"))
    image = photograph()
    small = floats.downscale(image)
    assert np.array_equal(small, byte_model.downscale(image))
    for tile in (None, 8):
        grid = {} if tile is None else {"tile": tile, "overlap": 4}
        want = floats.upscale(small, tau=tau, seed=5, **grid)
        assert np.array_equal(want, byte_model.upscale(small, tau=tau, seed=5, **grid))


def test_bytes_are_used_where_there_is_nothing_else(bundle: Path) -> None:
    model = runtime.load(bundle, precision="fp16")
    assert model.network.graph("inverse", None).io == "uint8"
    assert model.upscale(photograph()).size == (200, 120)
    with pytest.raises(BundleError, match=r"no inverse graph in fp16 with float32 images"):
        runtime.load(bundle, precision="fp16", io="float32").upscale(photograph())


def test_latents_come_from_the_float_graph(bundle: Path) -> None:
    model = runtime.load(bundle, io="uint8")
    _, latents = model.downscale(photograph(), return_latents=True)
    assert latents[0].dtype == np.float32


def test_sixteen_bits_are_not_lost_in_silence(bundle: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (8, 8, 3)).astype(np.uint16)
    with pytest.raises(ParameterError, match="8 bits a channel"):
        runtime.load(bundle, io="uint8").upscale(deep)


def test_a_tile_whose_health_is_bad_is_healed_by_the_float_graph(bundle: Path) -> None:
    model = runtime.load(bundle, precision="fp16")
    network = model.network
    whole = network.run
    report = Report()

    def overflowing(graph: Any, values: Any) -> Any:
        outputs = whole(graph, values)
        if graph.precision == "fp16":
            outputs |= {"health": np.array([np.inf], np.float32)}
        return outputs

    network.run = overflowing  # type: ignore[method-assign]
    image = photograph()
    found = model.upscale(image, report=report)
    assert report.as_json()["healed"]
    assert np.array_equal(found, runtime.load(bundle).upscale(image))
