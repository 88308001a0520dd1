"""Tile borders below fp32: what shows is found, and rounding alike everywhere is no seam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from export.checks import seams, tile_pictures
from export.checks.seams import figures, permutation_test, shows
from export.checks.tile_pictures import Array
from export.checks.tiled_run import Measured, run_on_grid
from runtime.bundle.manifest import Graph, Seam
from runtime.inference.grid import Grid
from tests.export.test_tile_grid import blur, graph_of

LENGTH = 144
BORDERS = np.arange(24, LENGTH, 24)


def rounded_differently(seed: int, line: int | None = None, more: float = 0.0) -> list[Seam]:
    """The test of 6 strips whose tiles and untiled images are rounded by chance.

    `line` is an LR line of every tile, 0 at its border, whose pixels get `more` beside it.
    """
    random = np.random.default_rng(seed)
    strips = []
    for _ in range(6):
        truth = random.uniform(0.2, 0.8, (3, 16, 4 * LENGTH))
        tiled, untiled = (truth + random.normal(0, 0.3 / 255, truth.shape) for _ in range(2))
        if line is not None:
            for border in BORDERS:
                tiled[:, :, 4 * (border + line)] += more
        images: list[Array] = [each.astype(np.float32) for each in (tiled, untiled)]
        strips.append(figures(images[0], images[1], BORDERS, LENGTH))
    return permutation_test(strips, "noise", 0.0)


@pytest.mark.parametrize("seed", range(3))
def test_rounding_alike_everywhere_is_no_seam(seed: int) -> None:
    difference, jump = rounded_differently(seed)
    assert difference.border == pytest.approx(difference.elsewhere, rel=0.1)
    assert abs(jump.border) < 0.1 / 255
    assert not shows(difference)
    assert not shows(jump)


@pytest.mark.parametrize(
    ("line", "more", "seen"), [(0, 0.6 / 255, True), (7, 0.6 / 255, False), (0, 0.02 / 255, False)]
)
def test_half_a_step_more_shows_at_tile_borders_and_nowhere_else(
    line: int, more: float, seen: bool
) -> None:
    difference, _ = rounded_differently(0, line, more)
    assert shows(difference) == seen


def test_the_same_strips_give_the_same_figures() -> None:
    assert rounded_differently(3) == rounded_differently(3)


def test_identical_images_have_no_seam() -> None:
    strip = np.zeros((3, 16, LENGTH), np.float32)
    for seam in permutation_test([figures(strip, strip, BORDERS, LENGTH)], "black", 0.0):
        assert (seam.border, seam.elsewhere, seam.p) == (0.0, 0.0, 1.0)


def test_the_axis_of_a_strip_does_not_matter() -> None:
    images = np.random.default_rng(0).random((2, 3, 16, LENGTH), np.float32)
    along = figures(images[0], images[1], BORDERS, LENGTH)
    down = figures(images[0].transpose(0, 2, 1), images[1].transpose(0, 2, 1), BORDERS, LENGTH)
    np.testing.assert_array_equal(along.difference, down.difference)
    np.testing.assert_array_equal(along.jump, down.jump)


def down(length: int) -> dict[str, list[Array]]:
    """A ramp and text along columns, the way that `blur` looks."""
    patterns = tile_pictures.strips("inverse", 4, None, length)[tile_pictures.PATTERNS]
    return {"down": [patterns[4], patterns[7]]}


def low(folder: Path, radius: int) -> Measured:
    graph: Graph = replace(graph_of(folder), precision="int8")
    return Measured(blur(radius, 0.4), graph, (), 4)


@pytest.mark.parametrize(("radius", "overlap"), [(3, 4), (6, 8), (10, 12)])
def test_the_overlap_reaches_as_far_as_the_network_looks(
    tmp_path: Path, radius: int, overlap: int
) -> None:
    found = seams.choose(low(tmp_path / "b", radius), down, (0.0,), (4, 8, 12))
    assert found is not None
    assert found.overlap == overlap
    assert found.neighbours < 1e-6
    assert not any(map(shows, found.seams))


@pytest.mark.parametrize("off", [np.nan, 1e9, -3.0])
def test_a_pattern_that_latents_make_no_image_of_tells_nothing_of_tiles(
    tmp_path: Path, off: float
) -> None:
    measured = low(tmp_path / "b", 3)

    def run(feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        hr = np.array(measured.run(feeds)["hr"])
        if feeds["lr"].max() == 1:  # as a network grows beyond all bounds on white
            hr[:, :, :: feeds["lr"].shape[2]] = off
        return {"hr": hr}

    _, text = down(144)["down"]
    dim = (text * 0.5).astype(np.float32)
    strips = {"text": [text, dim], "white": [text]}
    odd = replace(measured, run=run)
    found = seams.choose(odd, lambda _: strips, (0.9,), (4, 8))
    assert found is not None
    assert found == seams.choose(measured, lambda _: {"text": [dim]}, (0.9,), (4, 8))
    # At τ = 0 nothing is left out.
    assert len(seams.choose(odd, lambda _: strips, (0.0,), (4,)).seams) == 4  # type: ignore[union-attr]


def test_no_overlap_is_found_where_none_is_enough_and_one_alone_is_measured(tmp_path: Path) -> None:
    measured = low(tmp_path / "b", 20)
    assert seams.choose(measured, down, (0.0,), (4, 8)) is None
    found = seams.choose(measured, down, (0.0,), (4,))
    assert found is not None
    assert any(map(shows, found.seams))
    assert found.neighbours > 1 / 255


@pytest.mark.parametrize(("direction", "factor"), [("inverse", 1), ("forward", 4)])
def test_strips_are_8_bit_images_along_both_axes(direction: str, factor: int) -> None:
    found = tile_pictures.strips(direction, 4, None, 100)[tile_pictures.PATTERNS]  # type: ignore[arg-type]
    shape = (factor * tile_pictures.STRIP_WIDTH, factor * 100)
    assert [each.shape for each in found] == [(3, *shape)] * 4 + [(3, *shape[::-1])] * 4
    for each in found:
        values: NDArray[np.float64] = each.astype(np.float64) * 255
        assert np.abs(values - np.rint(values)).max() < 1e-4
        assert 0 <= values.min() <= values.max() <= 255
        assert each.std() > 0.1
    reported = tile_pictures.reported_strips("forward", 4, 100)[tile_pictures.EVALUATED]
    assert all(side % 4 == 0 for each in reported for side in each.shape[1:])


def test_a_graph_in_tiles_is_the_graph_on_the_whole_image_where_it_looks_no_further(
    tmp_path: Path,
) -> None:
    measured = low(tmp_path / "b", 2)
    picture = np.random.default_rng(0).random((3, 50, 31), np.float32)
    whole, none = run_on_grid(measured, picture, 0.0, Grid.whole(50, 31, 2))
    tiled, worst = run_on_grid(measured, picture, 0.0, Grid(50, 31, 16, 3, 2))
    assert whole.shape == (3, 200, 124)
    assert none is None
    assert worst is not None
    assert worst < 1e-6
    np.testing.assert_allclose(tiled, whole, atol=1e-6)
