"""Images of any size, tile by tile: the same bytes however they are computed."""

from __future__ import annotations

import json
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import runtime
from hcflow.cli.program import application
from runtime import ImageError, Model
from runtime.checks import tile_error
from runtime.images.pixels.arrays import Picture
from runtime.inference import streaming
from runtime.inference.grid import Tiling
from runtime.inference.latent_source import Sampling
from runtime.inference.network import Network
from runtime.inference.plan import plan_for
from runtime.inference.report import Report
from tests.support.noise import noise


@settings(max_examples=40)
@given(
    height=st.integers(1, 24),
    width=st.integers(1, 24),
    tile=st.integers(1, 9),
    overlap=st.integers(0, 4),
    tau=st.sampled_from([0.0, 0.7]),
)
def test_a_local_network_gives_the_whole_image_on_every_grid(
    tiny_model: Model, height: int, width: int, tile: int, overlap: int, tau: float
) -> None:
    image = noise(height, width) / 255
    whole = tiny_model.network.decode(
        image.transpose(2, 0, 1)[None].astype(np.float32),
        tiny_model.network.draw_latents(height, width, 3, 0, tau) if tau else None,
    )
    grid = {"tile": tile, "overlap": min(overlap, tile)}
    report = Report()
    large = tiny_model.upscale(image, tau=tau, seed=3, report=report, **grid)
    np.testing.assert_allclose(large, np.clip(whole[0], 0, 1).transpose(1, 2, 0), atol=2e-6)
    assert report.disagreement is None or report.disagreement < 1e-6
    reduced, latents = tiny_model.downscale(image, return_latents=True, **grid)
    coded = tiny_model.downscale(image, return_latents=True, tile=99, overlap=0)
    np.testing.assert_allclose(reduced, coded[0], atol=1e-6)
    for got, want in zip(latents, coded[1], strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)
    given_back = tiny_model.upscale(reduced, latents=latents, size=(height, width), **grid)
    np.testing.assert_allclose(given_back, image, atol=3e-6)


@settings(max_examples=8)
@given(
    size=st.tuples(st.integers(20, 45), st.integers(20, 45)),
    in_flight=st.integers(1, 4),
    threads=st.integers(1, 9),
    start=st.integers(0, 2),
)
def test_threads_tiles_in_flight_and_resuming_never_change_a_byte(
    small_bundle: Path, size: tuple[int, int], in_flight: int, threads: int, start: int
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

    alone = compute(runtime.load(small_bundle, threads=1), 1, 0)
    assert compute(runtime.load(small_bundle, threads=threads), in_flight, start) == alone[start:]


def test_batches_samples_and_callers_never_change_a_byte_of_a_tiled_image(
    small_bundle: Path,
) -> None:
    model = runtime.load(small_bundle)
    options = {"tau": 0.6, "seed": 2, "tile": 10, "overlap": 4}
    images = [noise(23, 31), noise(23, 31)[::-1].copy()]
    alone = [model.upscale(image, **options) for image in images]
    np.testing.assert_array_equal(model.upscale(np.stack(images), **options), np.stack(alone))
    np.testing.assert_array_equal(model.upscale(images[0], samples=3, **options)[0], alone[0])
    with ThreadPoolExecutor(4) as callers:
        together = list(callers.map(lambda image: model.upscale(image, **options), images * 3))
    assert all((a == b).all() for a, b in zip(together, alone * 3, strict=True))


def test_the_canonical_grid_is_the_graphs_own(small_bundle: Path, tmp_path: Path) -> None:
    text = (small_bundle / "manifest.json").read_text()
    document = json.loads(text)
    for graph in document["graphs"]:
        assert graph["overlap"] >= 4
        assert max(row["max_abs"] for row in graph["deviations"]) <= 1 / 255
        graph["tile"], graph["overlap"] = 16, 8
        graph["grids"] = [{"tile": 16, "overlap": 8}]
    other = tmp_path / "other"
    other.mkdir()
    for path in small_bundle.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (other / "manifest.json").write_text(json.dumps(document))
    report = Report()
    image = noise(40, 50)
    large = runtime.load(other).upscale(image, tau=0.5, report=report)
    assert (report.tile, report.overlap, report.tiles) == (16, 8, 6)
    np.testing.assert_array_equal(
        large, runtime.load(small_bundle).upscale(image, tau=0.5, tile=16, overlap=8)
    )


def test_another_grid_agrees_with_the_whole_image_to_the_budget(small_bundle: Path) -> None:
    model = runtime.load(small_bundle)
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
    small_bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = Report()
    runtime.load(small_bundle).upscale(noise(48, 40), tau=1.0, tile=16, overlap=1, report=report)
    assert report.disagreement is not None
    assert report.disagreement > 1 / 255
    assert "a larger --overlap brings them together" in caplog.text


def test_a_row_reader_that_gives_something_else_is_named(tiny_model: Model) -> None:
    odd = Mock(height=20, width=20, colour=lambda a, b: np.zeros((3, b - a, 7), np.float32))
    with pytest.raises(ImageError, match=r"they must be float32 \[3, 8, 20\]"):
        list(streaming.upscale(tiny_model.network, odd, Sampling()))


def test_leaving_early_ends_the_workers(small_bundle: Path) -> None:
    picture = Picture(np.zeros((60, 60, 3), np.float32))
    model = runtime.load(small_bundle)
    found = streaming.upscale(model.network, picture, Sampling(), tiling=Tiling(8, 4))
    next(found)
    found.close()  # type: ignore[attr-defined]
    with pytest.raises(StopIteration):
        next(found)


@pytest.mark.parametrize("way", ["upscale", "uncertainty", "downscale"])
def test_a_block_that_was_used_is_gone_before_the_next_is_computed(
    tiny_model: Model, way: str
) -> None:
    factor = 4 if way == "downscale" else 1
    height, width = 24 * factor, 9 * factor
    image = noise(height, width).transpose(2, 0, 1) / np.float32(255)
    used: list[weakref.ref[np.ndarray]] = []

    def colour(start: int, stop: int) -> np.ndarray:
        assert not any(planes() is not None for planes in used)
        return image[:, start:stop]

    rows = Mock(height=height, width=width, colour=colour)
    direction = "forward" if way == "downscale" else "inverse"
    plan = plan_for(tiny_model.network, direction, height, width, in_flight=1)
    blocks = {
        "upscale": lambda: streaming.upscale(tiny_model.network, rows, Sampling(), plan=plan),
        "uncertainty": lambda: streaming.uncertainty(
            tiny_model.network, rows, Sampling(tau=0.5), samples=range(2), plan=plan
        ),
        "downscale": lambda: streaming.downscale(tiny_model.network, rows, plan=plan),
    }
    for block in blocks[way]():
        used.append(weakref.ref(block.planes))
        del block
    assert len(used) == 4


def cli(*arguments: object) -> Any:
    return CliRunner().invoke(application(), list(map(str, arguments)))


def test_the_next_tile_is_computed_while_the_caller_uses_a_block(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed, run = threading.Semaphore(0), Network.run

    def counted(self: Network, *given: Any) -> Any:
        outputs = run(self, *given)
        computed.release()
        return outputs

    monkeypatch.setattr(Network, "run", counted)
    height, width = 48, 12
    image = noise(height, width).transpose(2, 0, 1) / np.float32(255)
    rows = Mock(height=height, width=width, colour=lambda start, stop: image[:, start:stop])
    network = tiny_model.network
    plan = plan_for(network, "inverse", height, width, tiling=Tiling(8, 2), in_flight=1)
    assert (plan.grid.rows > 3, plan.grid.columns) == (True, 1)
    for block in streaming.upscale(network, rows, Sampling(0.0), plan=plan):
        if block.index == 0:
            assert computed.acquire(timeout=30)  # its own tile
        if block.index < plan.grid.rows - 1:  # the next one, while this block is in use
            assert computed.acquire(timeout=30), "the next tile waits for the caller"


def test_verify_measures_the_grid_again(small_bundle: Path) -> None:
    result = cli("verify", small_bundle, "--backend", "onnxruntime", "--json")
    assert result.exit_code == 0, result.output
    (report,) = json.loads(result.stdout)["backends"]
    assert {row["case"] for row in report["tiles"]} == {tile_error.PICTURE}
    assert all(row["ok"] for row in report["tiles"])
