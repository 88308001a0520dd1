"""Transparency: hidden colours change nothing, visible ones spread, alpha weighs the colour."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import hcflow
from runtime import Model
from runtime.images.pixels import colour_spread
from runtime.images.pixels.arrays import Picture, Planes
from runtime.images.pixels.image_rows import ImageRows

HIDDEN = [(0, 0, 0), (255, 255, 255), (0, 255, 0)]
Pixels = NDArray[np.uint8]


def _disc(side: int, colour: tuple[int, int, int], hidden: tuple[int, int, int]) -> Pixels:
    y, x = np.mgrid[:side, :side] - side / 2 + 0.5
    inside = x * x + y * y < (0.35 * side) ** 2
    rgb = np.where(inside[..., None], colour, hidden)
    return np.dstack([rgb, 255 * inside]).astype(np.uint8)


def _scattered(height: int, width: int, seed: int = 0) -> Pixels:
    """Noise whose alpha is full, faint or 0 in patches of many sizes."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, 4), np.uint8)
    image[..., 3] = np.where(random.random((height, width)) < 0.01, image[..., 3], 0)
    image[height // 3 : height // 2, width // 4 : width // 2, 3] = 255
    image[height // 2 :, width // 2 : width // 2 + 9, 3] = 40
    return image


def _colours(image: NDArray[Any], *cuts: int) -> Planes:
    rows = ImageRows.of(Picture(image), "forward", 4)
    edges = [*cuts, len(image)]
    strips = [rows.colour(*ends) for ends in itertools.pairwise(edges)]
    return np.concatenate(strips, axis=1)


def test_rows_read_in_strips_have_the_colours_of_the_whole_image() -> None:
    image = _scattered(700, 300)
    whole = _colours(image, 0)
    np.testing.assert_array_equal(_colours(image, 0, 5, 64, 65, 301, 640), whole)
    np.testing.assert_array_equal(_colours(image, 333, 334, 600), whole[:, 333:])


def test_a_picture_moved_by_whole_blocks_has_the_same_colours() -> None:
    image = _scattered(150, 200)
    block = colour_spread.BLOCK
    moved = np.pad(image, ((2 * block, 0), (block, 0), (0, 0)))
    found = _colours(moved, 0)[:, 2 * block :, block:]
    np.testing.assert_array_equal(found, _colours(image, 0))


@pytest.mark.parametrize("alpha", [16, 26, 128, 254])
def test_an_evenly_faint_photograph_keeps_every_colour(alpha: int) -> None:
    image = _scattered(90, 70)
    image[..., 3] = alpha
    np.testing.assert_array_equal(_colours(image, 0), _colours(image[..., :3], 0))


def test_a_soft_fade_keeps_its_colours_until_it_is_hardly_visible() -> None:
    image = _scattered(70, 128)
    image[..., 3] = np.arange(128) * 2
    plain = _colours(image[..., :3], 0)
    np.testing.assert_array_equal(_colours(image, 0)[..., 12:], plain[..., 12:])


def test_a_faint_pixel_takes_the_colour_of_the_full_ones_beside_it() -> None:
    image = np.full((32, 32, 4), 255, np.uint8)
    image[:, 16:] = (0, 0, 0, 0)
    image[:, 16] = (0, 0, 0, 20)  # a dark rim, as a black matte leaves it
    assert _colours(image, 0)[:, 4:28, 16].min() > 0.8


@pytest.mark.parametrize("shape", [(40, 40, 4), (40, 40, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_hidden_colours_change_no_byte(
    tiny_model: Model, shape: tuple[int, int, int], dtype: Any
) -> None:
    top = 1 if dtype is np.float32 else np.iinfo(dtype).max
    image = (np.random.default_rng(1).random(shape) * top).astype(dtype)
    image[5:35, 9:30, -1] = 0
    other = image.copy()
    other[5:35, 9:30, :-1] = top - image[5:35, 9:30, :-1]
    for scaled in (tiny_model.upscale, tiny_model.downscale):
        np.testing.assert_array_equal(scaled(image), scaled(other))


def test_the_transparent_shade_of_a_palette_changes_no_byte(tiny_model: Model) -> None:
    results = []
    for hidden in HIDDEN:
        image = Image.fromarray((_disc(24, (255, 0, 0), (0, 0, 0))[..., 3] // 255).astype("u1"))
        image.putpalette([*hidden, 255, 0, 0])
        image.info["transparency"] = 0
        results.append(tiny_model.upscale(image))
    assert all(np.array_equal(result, results[0]) for result in results)


def test_colour_goes_on_around_what_is_visible_and_ends_in_gray() -> None:
    image = np.zeros((400, 400, 4), np.uint8)
    image[64:192, 64:192] = (255, 0, 0, 255)
    colour = _colours(image, 0)
    near = colour[:, 56:200, 56:200]
    assert near[0].min() > 0.95
    assert near[1:].max() < 0.05
    np.testing.assert_array_equal(colour[:, 340:, 340:], np.float32(0.5))
    assert np.abs(np.diff(colour, axis=1)).max() < 0.05
    assert np.abs(np.diff(colour, axis=2)).max() < 0.05


def _on(background: tuple[int, int, int], image: Pixels) -> NDArray[np.float64]:
    alpha = image[..., 3:] / 255
    return image[..., :3] * alpha + np.array(background) * (1 - alpha)


@pytest.mark.parametrize(
    ("name", "colour", "hidden"),
    [("rescale_x4", (255, 0, 0), HIDDEN[0]), ("sr_x4", (0, 0, 0), HIDDEN[2])],
)
def test_edges_of_a_disc_are_as_the_premultiplied_bicubic_has_them(
    name: str, colour: tuple[int, int, int], hidden: tuple[int, int, int]
) -> None:
    model = hcflow.load(name)
    for scaled, side in ((model.upscale, 24), (model.downscale, 96)):
        image = _disc(side, colour, hidden)
        result = scaled(image)
        plain = Image.fromarray(image).convert("RGBa")
        plain = plain.resize(result.shape[1::-1], Image.Resampling.BICUBIC).convert("RGBA")
        for background in ((255, 255, 255), (0, 0, 0), (255, 0, 255)):
            off = np.abs(_on(background, result) - _on(background, np.asarray(plain)))
            assert np.percentile(off.max(axis=2), 99.9) <= 40
