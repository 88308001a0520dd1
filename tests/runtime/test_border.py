"""An image is padded around its border before the network, and the result cropped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import hcflow
import runtime
from runtime import Bundle, Model, ParameterError
from runtime.bundle.graph_entry import Graph
from runtime.convert import large_file
from runtime.convert.job import Job
from runtime.convert.journal import Journal
from runtime.images.pixels import padding
from runtime.images.pixels.arrays import Picture
from runtime.inference import streaming
from runtime.inference.grid import Tiling
from runtime.inference.latent_source import Sampling
from runtime.inference.network import Network
from runtime.inference.plan import plan_for
from tests.support.blurring import REACH, blurring
from tests.support.bundles import write_bundle
from tests.support.one_model import OneModel


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height + width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def padded(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return blurring(tmp_path_factory.mktemp("padded"), REACH + 1, tile=16, overlap=4)


SIZES = [(1, 1), (4, 4), (1, 2000), (2000, 1), (3, 9), (30, 41)]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")
@pytest.mark.parametrize("colour", [(255, 255, 0), (0, 200, 90)], ids=["yellow", "green"])
def test_a_plain_picture_of_any_size_keeps_its_colour_to_the_edge(
    padded: Model, size: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    small = np.full((*size, 3), colour, np.uint8)
    np.testing.assert_array_equal(padded.upscale(small), small.repeat(4, 0).repeat(4, 1))
    # Sizes that are no multiple of the scale are padded once more, in front of the border.
    np.testing.assert_array_equal(padded.downscale(small)[0, 0], colour)
    assert (padded.downscale(small) == colour).all()


def test_without_the_key_nothing_is_padded(tmp_path: Path) -> None:
    bare = blurring(tmp_path / "bare", 0, tile=16, overlap=4)
    text = (tmp_path / "bare" / "manifest.json").read_text()
    older = text.replace('   "border": 0,\n', "")
    assert older.count("border") == 0
    (tmp_path / "bare" / "manifest.json").write_text(older)
    assert Bundle.open(tmp_path / "bare").manifest == bare.manifest
    white = np.full((20, 20, 3), 255, np.uint8)
    found = runtime.load(tmp_path / "bare").upscale(white)
    assert found[0].max() < 200
    np.testing.assert_array_equal(found, bare.upscale(white))


@pytest.mark.parametrize("direction", ["inverse", "forward"])
def test_tiles_with_a_border_are_those_of_the_mirrored_image_computed_whole(
    padded: Model, direction: Any
) -> None:
    network, border, factor = padded.network, REACH + 1, 4 if direction == "forward" else 1
    picture = noise(45 * factor - (factor > 1), 37 * factor)
    planes = Picture(picture).colour(0, len(picture))
    rows, columns = (
        padding.source_indices(side, factor, border * factor) for side in planes.shape[1:]
    )
    graph = network.graph(direction, None)
    name, output, scale = ("hr", "lr", 1) if factor == 4 else ("lr", "hr", 4)
    whole = network.run(graph, {name: planes[None][:, :, rows][:, :, :, columns]})[output][0]
    expected = whole[:, border * scale : -border * scale, border * scale : -border * scale]
    run = streaming.downscale if direction == "forward" else streaming.upscale
    options: Any = {} if direction == "forward" else {"sampling": Sampling()}
    plan = plan_for(network, direction, *planes.shape[1:])
    assert plan.grid.rows > 1
    assert max(plan.grid.window) <= 16 + 2 * 4
    blocks = list(run(network, Picture(picture), **options, plan=plan))
    found = np.concatenate([block.planes for block in blocks], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # Rows of tiles that are skipped change nothing in the others.
    for first in range(1, plan.grid.rows):
        rest = list(run(network, Picture(picture), **options, plan=plan, first_row=first))
        np.testing.assert_array_equal(rest[0].planes, blocks[first].planes)


@pytest.mark.parametrize("tiling", [{}, {"tile": 8, "overlap": 2}, {"tile": 3, "overlap": 0}])
@pytest.mark.parametrize("size", [(1, 1), (13, 22)])
def test_a_border_leaves_the_images_own_latents_in_place(
    tmp_path: Path, size: tuple[int, int], tiling: dict[str, int]
) -> None:
    # Each pixel of the tiny network depends on its own LR pixel and latents, on nothing else.
    bare, bordered = (
        runtime.load(write_bundle(tmp_path / str(border), border=border)) for border in (0, 5)
    )
    small, mask = noise(*size), Image.fromarray(noise(5, 3)[..., 0])
    for more in ({}, {"tau_map": mask}, {"samples": 2}):
        options: dict[str, Any] = {"tau": 0.7, "seed": 2**40, **tiling, **more}
        for one, two in zip(
            np.atleast_1d(bare.upscale(small, **options)),
            np.atleast_1d(bordered.upscale(small, **options)),
            strict=True,
        ):
            np.testing.assert_array_equal(one, two)
    large = noise(4 * size[0] - 1, 4 * size[1] + 2)
    np.testing.assert_array_equal(
        bare.downscale(large, **tiling), bordered.downscale(large, **tiling)
    )


def test_latents_given_or_asked_for_are_those_of_the_image_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = runtime.load(write_bundle(tmp_path / "b", border=5))
    shapes: list[tuple[int, ...]] = []
    run = Network.run

    def spy(network: Network, graph: Graph, feeds: Mapping[str, Any]) -> dict[str, Any]:
        shapes.append(next(iter(feeds.values())).shape)
        return run(network, graph, feeds)

    monkeypatch.setattr(Network, "run", spy)
    large = noise(28, 36).astype(np.float32) / 255
    small, latents = model.downscale(large, return_latents=True)
    back = model.upscale(small, latents=latents)
    np.testing.assert_allclose(back, large, atol=1e-5)
    model.downscale(large)
    model.upscale(small)
    assert shapes == [(1, 3, 28, 36), (1, 3, 7, 9), (1, 3, 68, 76), (1, 3, 17, 19)]


def test_a_plan_with_a_border_is_refused_where_latents_are_given(tmp_path: Path) -> None:
    model = runtime.load(write_bundle(tmp_path / "b", border=5))
    picture = Picture(noise(8, 8))
    latents = [np.zeros(shape, np.float32) for shape in model.network.latent_shapes(1, 8, 8)]
    plan = plan_for(model.network, "inverse", 8, 8)
    assert plan.grid.border == 5
    with pytest.raises(ParameterError, match="pads the image by 5 low-resolution pixels"):
        next(iter(streaming.upscale(model.network, picture, Sampling(latents=latents), plan=plan)))
    plan = plan_for(model.network, "inverse", 8, 8, tiling=Tiling(border=0))
    next(iter(streaming.upscale(model.network, picture, Sampling(latents=latents), plan=plan)))


def test_a_journal_depends_on_the_border(
    padded: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyvips")
    source = str(tmp_path / "in.png")
    Image.fromarray(noise(40, 50)).save(source)
    grids = []
    begin = Journal.__init__

    def spy(journal: Journal, result: str, settings: Mapping[str, Any]) -> None:
        grids.append(settings["grid"])
        begin(journal, result, settings)

    monkeypatch.setattr(Journal, "__init__", spy)
    for border in (None, 0):
        job = Job("downscale", OneModel(padded), tiling=Tiling(border=border))
        large_file.convert(job, source, str(tmp_path / f"{border}.png"), "PNG")
    assert grids == [[10, 13, 16, 4, REACH + 1], [10, 13, 16, 4, 0]]
    strips = np.asarray(Image.open(tmp_path / "None.png"))
    np.testing.assert_array_equal(strips, padded.downscale(noise(40, 50)))


@pytest.mark.slow
@pytest.mark.parametrize("colour", [(255, 255, 0), (0, 255, 0), (255, 0, 255), (255, 255, 255)])
def test_plain_colours_are_no_further_off_at_the_edge_than_inside_by_the_shipped_sr_model(
    colour: tuple[int, int, int],
) -> None:
    model = hcflow.load("sr_x4")
    for way, factor in ((model.upscale, 1), (model.downscale, 4)):
        plain = np.full((40 * factor, 40 * factor, 3), colour, np.uint8)
        off = np.abs(way(plain).astype(int) - colour)
        inside = off[off.shape[0] // 2, off.shape[1] // 2].max()
        for side in (1, 4, 40):
            piece = plain[: side * factor, : side * factor]
            assert np.abs(way(piece).astype(int) - colour).max() <= inside + 1
