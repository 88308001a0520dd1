"""Bands: an image of any size tile by tile, with the bytes of any other way of computing it."""

from __future__ import annotations

import json
import logging
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import runtime
from export.pipeline import Request, build
from hcflow.cli.program import application
from hcflow_ref.checkpoint.load import load
from runtime import ImageError, Model, ParameterError
from runtime.checks import tile_error
from runtime.images import files, provenance
from runtime.images.pixels import Picture
from runtime.inference import streaming
from runtime.inference.grid import Tiling
from runtime.inference.latent_source import Sampling
from runtime.inference.plan import plan_for
from runtime.inference.report import Report
from runtime.inference.tau_map import TauMap
from runtime.system import machine
from tests.support.bundles import write_bundle
from tests.support.golden_files import weights


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Each pixel depends on its own block alone: any grid gives what the whole image gives."""
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    return runtime.load(write_bundle(folder, tile=5, overlap=2))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real flow whose pixels depend on their neighbourhood."""
    folder = tmp_path_factory.mktemp("bundles") / "small"
    build(load(weights("rescale_x4")), folder, Request("small"))
    return folder


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, channels), "u1")


@settings(max_examples=40)
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    tile=st.integers(1, 9),
    overlap=st.integers(0, 4),
    tau=st.sampled_from([0.0, 0.7]),
)
def test_a_local_network_gives_the_whole_image_on_every_grid(
    tiny: Model, height: int, width: int, tile: int, overlap: int, tau: float
) -> None:
    image = noise(height, width) / 255
    whole = tiny.network.decode(
        image.transpose(2, 0, 1)[None].astype(np.float32),
        tiny.network.draw_latents(height, width, 3, 0, tau) if tau else None,
    )
    grid = {"tile": tile, "overlap": min(overlap, tile)}
    report = Report()
    large = tiny.upscale(image, tau=tau, seed=3, report=report, **grid)
    np.testing.assert_allclose(large, np.clip(whole[0], 0, 1).transpose(1, 2, 0), atol=2e-6)
    assert report.disagreement is None or report.disagreement < 1e-6
    reduced, latents = tiny.downscale(image, return_latents=True, **grid)
    coded = tiny.downscale(image, return_latents=True, tile=99, overlap=0)
    np.testing.assert_allclose(reduced, coded[0], atol=1e-6)
    for got, want in zip(latents, coded[1], strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)
    given_back = tiny.upscale(reduced, latents=latents, size=(height, width), **grid)
    np.testing.assert_allclose(given_back, image, atol=3e-6)


@settings(max_examples=8)
@given(
    size=st.tuples(st.integers(20, 45), st.integers(20, 45)),
    in_flight=st.integers(1, 4),
    threads=st.integers(1, 9),
    start=st.integers(0, 2),
)
def test_threads_tiles_in_flight_and_resuming_never_change_a_byte(
    small: Path, size: tuple[int, int], in_flight: int, threads: int, start: int
) -> None:
    height, width = size
    picture = Picture(noise(height, width))

    def compute(model: Model, in_flight: int, start: int) -> list[bytes]:
        network = model.network
        plan = plan_for(
            network, "inverse", height, width, tiling=Tiling(12, 4), in_flight=in_flight
        )
        found = streaming.upscale(
            network, picture, Sampling(tau=0.8, seed=5), plan=plan, first_row=start
        )
        return [block.planes.tobytes() for block in found]

    alone = compute(runtime.load(small, threads=1), 1, 0)
    assert compute(runtime.load(small, threads=threads), in_flight, start) == alone[start:]


def test_batches_samples_and_callers_never_change_a_byte_of_a_tiled_image(small: Path) -> None:
    model = runtime.load(small)
    options = {"tau": 0.6, "seed": 2, "tile": 10, "overlap": 4}
    images = [noise(23, 31), noise(23, 31)[::-1].copy()]
    alone = [model.upscale(image, **options) for image in images]
    np.testing.assert_array_equal(model.upscale(np.stack(images), **options), np.stack(alone))
    np.testing.assert_array_equal(model.upscale(images[0], samples=3, **options)[0], alone[0])
    with ThreadPoolExecutor(4) as callers:
        together = list(callers.map(lambda image: model.upscale(image, **options), images * 3))
    assert all((a == b).all() for a, b in zip(together, alone * 3, strict=True))


def test_the_canonical_grid_is_the_graphs_own(small: Path, tmp_path: Path) -> None:
    text = (small / "manifest.json").read_text()
    document = json.loads(text)
    for graph in document["graphs"]:
        assert graph["overlap"] >= 4
        assert max(row["max_abs"] for row in graph["deviations"]) <= 1 / 255
        graph["tile"], graph["overlap"] = 16, 8
    other = tmp_path / "other"
    other.mkdir()
    for path in small.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (other / "manifest.json").write_text(json.dumps(document))
    report = Report()
    image = noise(40, 50)
    large = runtime.load(other).upscale(image, tau=0.5, report=report)
    assert (report.tile, report.overlap, report.tiles) == (16, 8, 6)
    np.testing.assert_array_equal(
        large, runtime.load(small).upscale(image, tau=0.5, tile=16, overlap=8)
    )


def test_another_grid_agrees_with_the_whole_image_to_the_budget(small: Path) -> None:
    model = runtime.load(small)
    overlap = model.network.graph("inverse", True).overlap
    report = Report()
    image = noise(48, 40) / 255
    for tau in (0.0, 1.0):
        whole = model.upscale(image, tau=tau)
        tiled = model.upscale(image, tau=tau, tile=16, overlap=overlap, report=report)
        assert np.abs(tiled - whole).max() <= 1 / 255
    assert report.disagreement is not None
    assert report.disagreement <= 1 / 255
    assert report.warnings() == []


def test_neighbours_that_disagree_are_reported(
    small: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = Report()
    runtime.load(small).upscale(noise(48, 40), tau=1.0, tile=16, overlap=1, report=report)
    assert report.disagreement is not None
    assert report.disagreement > 1 / 255
    assert "a larger --overlap brings them together" in caplog.text


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
    tiny: Model, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        tiny.upscale(noise(9, 9), **options)


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


def test_a_row_reader_that_gives_something_else_is_named(tiny: Model) -> None:
    odd = Mock(height=20, width=20, colour=lambda a, b: np.zeros((3, b - a, 7), np.float32))
    with pytest.raises(ImageError, match=r"they must be float32 \[3, 8, 20\]"):
        list(streaming.upscale(tiny.network, odd, Sampling()))


def test_leaving_early_ends_the_workers(small: Path) -> None:
    picture = Picture(np.zeros((60, 60, 3), np.float32))
    model = runtime.load(small)
    found = streaming.upscale(model.network, picture, Sampling(), tiling=Tiling(8, 4))
    next(found)
    found.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(found)


def overflowing(folder: Path, threshold: float, *, tau_only: bool = False) -> Model:
    """A bundle whose fp16 inverse gives infinity for a tile with a pixel above a threshold."""
    from dataclasses import replace  # noqa: PLC0415

    model = runtime.load(
        write_bundle(folder, tile=4, overlap=1, directions=["inverse"]), precision="fp32"
    )
    manifest = model.manifest
    (graph,) = manifest.graphs
    half = replace(graph, precision="fp16", file="inverse.fp16.test.onnx")
    (folder / half.file).write_bytes((folder / graph.file).read_bytes())
    changed = replace(manifest, graphs=(graph, half))
    (folder / "manifest.json").write_text(changed.to_json(), encoding="utf-8")
    model = runtime.load(folder, precision="fp16")
    network, run = model.network, model.network.run

    def spoiled(graph: Any, feeds: Any) -> Any:
        outputs = run(graph, feeds)
        if graph.precision == "fp16" and feeds["lr"].max() > threshold:
            outputs["hr"] = outputs["hr"] * np.float32(np.inf)
        if tau_only and np.any(feeds["z1"]):
            outputs["hr"] = outputs["hr"] * np.float32(np.nan)
        return outputs

    network.run = spoiled  # type: ignore[method-assign]
    return model


def test_a_tile_that_overflows_is_computed_again_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = overflowing(tmp_path / "b", 0.9)
    image = np.full((18, 18, 3), 100, np.uint8)
    image[6, 6] = 255
    report = Report()
    found = model.upscale(image, tau=0.3, report=report)
    np.testing.assert_array_equal(
        found, runtime.load(tmp_path / "b", precision="fp32").upscale(image, tau=0.3)
    )
    assert [(tile.row, tile.column, tile.how) for tile in report.fallbacks] == [(1, 1, "fp32")]
    assert report.tiles == 16
    assert "1 of 16 tiles went wrong and were computed again in fp32" in caplog.text


def test_a_tile_that_is_bad_with_its_latents_is_drawn_at_tau_zero(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = overflowing(tmp_path / "b", 0.9, tau_only=True)
    image = noise(6, 6)
    with caplog.at_level(logging.WARNING):
        calm = model.upscale(image, tau=0.3)
    np.testing.assert_array_equal(calm, model.upscale(image, tau=0.0))
    assert "fails with its latents even in fp32: computed at τ = 0" in caplog.text


def test_saturation_counts_below_fp32_only(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "b", gain=1e6, directions=["inverse"])
    report = Report()
    runtime.load(folder).upscale(noise(4, 4), report=report)
    assert report.fallbacks == []
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"fp32"', '"fp16"', 1))
    with pytest.raises(runtime.BackendError, match=r"in 'hr' on tile 0,0"):
        runtime.load(folder, precision="fp16").upscale(noise(4, 4))


def test_uncertainty_is_mean_and_deviation_of_the_draws(tiny: Model) -> None:
    image = noise(11, 9) / 255
    draws = np.stack(tiny.upscale(image, tau=0.2, seed=4, samples=5))
    mean, deviation = tiny.uncertainty(image, tau=0.2, seed=4, samples=5, size=(42, 36))
    np.testing.assert_allclose(mean, draws.mean(axis=0)[:42], atol=1e-6)
    expected = np.sqrt(draws.var(axis=0).mean(axis=2))[:42]
    np.testing.assert_allclose(deviation, expected, atol=1e-5)
    with pytest.raises(ParameterError, match="a deviation needs 2 or more"):
        tiny.uncertainty(image, samples=1)


def test_a_tau_map_sets_the_temperature_by_region(tiny: Model) -> None:
    image = noise(12, 16) / 255
    mask = np.zeros((12, 16), np.uint8)
    mask[:, 8:] = 255
    drawn = tiny.upscale(image, tau=0.4, tau_map=Image.fromarray(mask))
    calm, lively = tiny.upscale(image, tau=0.0), tiny.upscale(image, tau=0.4)
    np.testing.assert_array_equal(drawn[:, :28], calm[:, :28])
    np.testing.assert_array_equal(drawn[:, 36:], lively[:, 36:])
    white = Image.new("L", (3, 3), 255)
    np.testing.assert_array_equal(tiny.upscale(image, tau=0.4, tau_map=white), lively)
    colour = np.zeros((3, 3, 3), np.uint16)  # how a file of 16-bit colour is read
    for wrong in (Image.fromarray(noise(3, 3)), colour):
        with pytest.raises(ImageError, match="it must be a gray image without alpha"):
            tiny.upscale(image, tau=0.4, tau_map=wrong)


@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    mask=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    corner=st.tuples(st.integers(0, 29), st.integers(0, 29)),
)
def test_a_tau_map_has_one_value_at_each_place(
    size: tuple[int, int], mask: tuple[int, int], corner: tuple[int, int]
) -> None:
    gray = Image.fromarray(noise(*mask, 1)[..., 0])
    regions = TauMap.of(gray, *size)
    whole = regions.window(*size, 0, 0, *size)
    top, left = min(corner[0], size[0] - 1), min(corner[1], size[1] - 1)
    part = regions.window(*size, top, left, size[0] - top, size[1] - left)
    np.testing.assert_array_equal(part, whole[top:, left:])
    assert 0 <= whole.min() <= whole.max() <= 1


def cli(*arguments: object) -> Any:
    return CliRunner().invoke(application(), list(map(str, arguments)))


def test_the_command_tiles_reports_and_maps_uncertainty(small: Path, tmp_path: Path) -> None:
    source, out, heat, mask = (tmp_path / f"{name}.png" for name in ("in", "out", "heat", "mask"))
    Image.fromarray(noise(30, 34)).save(source)
    Image.new("L", (5, 5), 128).save(mask)
    grid = ("--model", small, "--tile", 12, "--overlap", 4, "--json")
    result = cli("upscale", source, "-o", out, *grid, "--tau", 0.5, "--tau-map", mask)
    tiles = json.loads(result.stdout)["tiles"]
    assert (tiles["tiles"], tiles["tile"], tiles["overlap"], tiles["healed"]) == (6, 12, 4, [])
    assert Image.open(out).size == (136, 120)
    result = cli("upscale", source, "-o", out, *grid, "--tau", 0.5, "--uncertainty", heat)
    assert json.loads(result.stdout)["largest"] > 0
    assert Image.open(heat).size == Image.open(out).size
    result = cli("downscale", source, "-o", out, *grid, "--no-round-trip")
    result = cli("upscale", out, "-o", heat, "--model", small, "--uncertainty", mask, "--tau", 0.5)
    assert result.exit_code == 0, result.output
    assert Image.open(heat).size == (34, 30)  # what the record in the small image says
    assert provenance.extract(files.read(str(heat)).xmp, "x") is None
    result = cli("downscale", source, "-o", out, *grid, "--no-round-trip")
    assert json.loads(result.stdout)["tiles"]["tiles"] == 1
    result = cli("upscale", source, "-o", out, "--model", small, "--tile", 4, "--overlap", 5)
    assert result.exit_code == 1
    assert "overlap 5 is larger than tile 4" in result.stderr


def test_verify_measures_the_grid_again(small: Path) -> None:
    result = cli("verify", small, "--backend", "onnxruntime", "--json")
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.stdout)["backends"]
    assert {row["case"] for row in report["tiles"]} == {tile_error.PICTURE}
    assert all(row["ok"] for row in report["tiles"])


@pytest.mark.parametrize("way", ["upscale", "uncertainty", "downscale"])
def test_a_block_that_was_used_is_gone_before_the_next_is_computed(tiny: Model, way: str) -> None:
    factor = 4 if way == "downscale" else 1
    height, width = 24 * factor, 9 * factor
    image = noise(height, width).transpose(2, 0, 1) / np.float32(255)
    used: list[weakref.ref[np.ndarray]] = []

    def colour(start: int, stop: int) -> np.ndarray:
        assert not any(planes() is not None for planes in used)
        return image[:, start:stop]

    rows = Mock(height=height, width=width, colour=colour)
    direction = "forward" if way == "downscale" else "inverse"
    plan = plan_for(tiny.network, direction, height, width, in_flight=1)
    blocks = {
        "upscale": lambda: streaming.upscale(tiny.network, rows, Sampling(), plan=plan),
        "uncertainty": lambda: streaming.uncertainty(
            tiny.network, rows, Sampling(tau=0.5), samples=range(2), plan=plan
        ),
        "downscale": lambda: streaming.downscale(tiny.network, rows, plan=plan),
    }
    for block in blocks[way]():
        used.append(weakref.ref(block.planes))
        del block
    assert len(used) == 4
