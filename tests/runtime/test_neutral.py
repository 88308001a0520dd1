"""Neutral pictures: what has no colour gets none, softly and locally; the luma stays."""

from __future__ import annotations

import itertools
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

import hcflow
from runtime import Model
from runtime.images.pixels import arrays, neutral
from runtime.images.pixels.arrays import Picture, Planes
from runtime.images.pixels.image_rows import ImageRows

Direction = Literal["forward", "inverse"]
FAR = neutral.REACH + neutral.BLUR
NEAR = neutral.REACH - neutral.BLUR


def _noise(height: int, width: int, seed: int = 0) -> Planes:
    return np.random.default_rng(seed).random((3, height, width), np.float32) * 1.2 - 0.1


def _page(height: int, width: int) -> NDArray[np.uint8]:
    """Gray noise that is neutral within a step."""
    random = np.random.default_rng(1)
    page = np.repeat(random.integers(0, 255, (height, width, 1), np.uint8), 3, axis=2)
    return page + random.integers(0, 2, page.shape, np.uint8)


def _finished(page: NDArray[np.uint8], direction: Direction, *cuts: int) -> tuple[Planes, Planes]:
    """Made-up output of an image before and after it is finished, in blocks of LR rows."""
    block = 4 if direction == "forward" else 1
    out = 1 if direction == "forward" else 4
    lr_height, lr_width = -(-page.shape[0] // block), -(-page.shape[1] // block)
    made = _noise(lr_height * out, lr_width * out)
    done = made.copy()
    rows = ImageRows.of(Picture(page), direction, 4)
    edges = [*cuts, lr_height]
    for start, stop in itertools.pairwise(edges):
        rows.colour(start * block, min(stop * block, page.shape[0]))
        strip = done[:, start * out : stop * out].copy()
        rows.finish(start * out, strip)
        done[:, start * out : stop * out] = strip
    return made[:, edges[0] * out :], done[:, edges[0] * out :]


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_of_neutral_input_the_luma_of_the_output_remains(direction: Direction) -> None:
    made, done = _finished(_page(50, 70), direction, 0)
    np.testing.assert_array_equal(done, np.repeat(arrays.luma(np.clip(made, 0, 1))[None], 3, 0))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_of_coloured_input_nothing_changes(direction: Direction) -> None:
    sepia = (_page(50, 70) * np.array([1.0, 0.9, 0.7]) + (20, 8, 0)).clip(0, 255).astype(np.uint8)
    made, done = _finished(sepia, direction, 0)
    np.testing.assert_array_equal(done.clip(0, 1), made.clip(0, 1))


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_a_logo_keeps_its_colours_and_far_from_it_there_are_none(direction: Direction) -> None:
    block, out = (4, 1) if direction == "forward" else (1, 4)
    page = _page(60 * block, 60 * block)
    page[30 * block :, 30 * block :] = (200, 20, 20)
    made, done = _finished(page, direction, 0)
    more = int(direction == "inverse")  # enlarging reaches one LR pixel further
    near, far = (30 - NEAR + more) * out, (30 - FAR - more) * out
    np.testing.assert_array_equal(done[:, near:, near:], made[:, near:, near:].clip(0, 1))
    assert np.ptp(done[:, :far], axis=0).max() == 0
    assert np.ptp(done[:, :, :far], axis=0).max() == 0


def test_colour_ends_softly() -> None:
    page = _page(40, 60)
    page[:, 30:] = (200, 20, 20)
    rows = ImageRows.of(Picture(page), "inverse", 4)
    rows.colour(0, 40)
    made = np.broadcast_to(np.array([1, 0, 0], np.float32)[:, None, None], (3, 160, 240)).copy()
    rows.finish(0, made)
    assert np.abs(np.diff(np.ptp(made, axis=0), axis=1)).max() < 0.05


def test_a_little_more_chroma_keeps_a_little_more_colour() -> None:
    kept = []
    for step in range(8):
        page = np.full((30, 30, 3), (100, 100, 100 + step), np.uint8)
        made, done = _finished(page, "inverse", 0)
        made, done = made.clip(0, 1), done.clip(0, 1)
        kept.append(float(np.ptp(done, axis=0).sum() / np.ptp(made, axis=0).sum()))
    np.testing.assert_allclose(kept, [0, 0, 0.25, 0.5, 0.75, 1, 1, 1], atol=0.01)


@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_strips_are_finished_as_the_whole_image_is(direction: Direction) -> None:
    page = _page(301, 99)
    page[80:90, 40:50] = (200, 20, 20)
    page[230, 90] = (0, 0, 255)
    _, whole = _finished(page, direction, 0)
    _, strips = _finished(page, direction, 0, 1, 19, 20, 60)
    np.testing.assert_array_equal(strips, whole)
    _, resumed = _finished(page, direction, 52, 60)
    np.testing.assert_array_equal(resumed, whole[:, -resumed.shape[1] :])


def test_gray_in_one_channel_or_in_three_gives_the_same_bytes(tiny_model: Model) -> None:
    gray = np.random.default_rng(2).integers(0, 256, (30, 23), np.uint8)
    for scaled in (tiny_model.upscale, tiny_model.downscale):
        one, three = scaled(gray), scaled(np.dstack([gray] * 3))
        np.testing.assert_array_equal(three, np.dstack([one] * 3))
    (one, deviation), (three, same) = (
        tiny_model.uncertainty(image, tau=0.5, samples=2) for image in (gray, np.dstack([gray] * 3))
    )
    np.testing.assert_array_equal(three, np.dstack([one] * 3))
    np.testing.assert_allclose(same, deviation, atol=1e-6)


def test_the_deviation_is_that_of_finished_samples(tiny_model: Model) -> None:
    page = (_page(24, 40) / np.float32(255)).astype(np.float32)
    page[:, 25:] = (0.8, 0.1, 0.1)
    options = {"tau": 0.8, "seed": 3, "samples": 4}
    mean, deviation = tiny_model.uncertainty(page, **options)
    samples = np.stack(tiny_model.upscale(page, **options)).astype(np.float64)
    np.testing.assert_allclose(mean, samples.mean(axis=0), atol=1e-5)
    expected = np.sqrt(samples.var(axis=0).mean(axis=2))
    np.testing.assert_allclose(deviation, expected, atol=1e-5)


@pytest.mark.parametrize("name", ["rescale_x4", "sr_x4"])
def test_black_text_on_white_stays_neutral(name: str) -> None:
    page = np.full((48, 64, 3), 255, np.uint8)
    page[8:40:6, 6:58] = 0
    page[10:30, 12:50:7] = 0
    model = hcflow.load(name)
    small = model.downscale(page)
    for result in (small, model.upscale(small, tau=0.0)):
        assert np.ptp(result, axis=2).max() == 0
