"""Lanczos resampling: by rows as whole, close to Pillow's own, alpha weighing the colour."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from runtime.images.pixels import resampling

NOISE = np.random.default_rng(3)


def noise(height: int, width: int, channels: int, dtype: type = np.uint8) -> NDArray[np.uint8]:
    most = int(np.iinfo(dtype).max) + 1
    return NOISE.integers(0, most, (height, width, channels)).astype(dtype)


@pytest.mark.parametrize(("height", "width"), [(97, 41), (300, 20), (200, 50), (1, 1), (31, 80)])
def test_it_is_what_pillow_gives_within_a_rounding(height: int, width: int) -> None:
    picture = noise(300, 90, 3)
    planes = [Image.fromarray(picture[..., c].astype(np.float32)) for c in range(3)]
    whole = [np.asarray(p.resize((width, height), Image.Resampling.LANCZOS)) for p in planes]
    expected = np.rint(np.clip(np.stack(whole, axis=2), 0, 255))
    found = resampling.resize(picture, height, width).astype(int)
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_rows_that_are_read_in_strips_give_the_same_bytes(dtype: type, channels: int) -> None:
    picture = noise(260, 23, channels, dtype)
    asked = []

    def read(start: int, stop: int) -> NDArray[np.uint8]:
        asked.append((start, stop))
        return picture[start:stop].copy()

    blocks = resampling.resized_rows(read, (260, 23), (151, 17))
    rows = np.concatenate([block for _, block in blocks])
    assert (rows == resampling.resize(picture, 151, 17)).all()
    assert asked == sorted(asked)
    assert max(stop - start for start, stop in asked) < 260


def test_hidden_colour_does_not_bleed_into_what_is_seen() -> None:
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[..., :3] = (0, 255, 0)
    picture[16:48, 16:48] = (255, 0, 0, 255)
    small = resampling.resize(picture, 27, 27)
    seen = small[small[..., 3] > 0]
    assert (seen[:, 0] == 255).all()
    assert (seen[:, 1] == 0).all()
    assert (small[0, 0] == (0, 255, 0, 0)).all()


def test_flat_colours_stay_to_the_bit() -> None:
    flat = np.full((100, 64, 3), (255, 1, 128), np.uint8)
    assert (resampling.resize(flat, 37, 63) == (255, 1, 128)).all()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "I;16", "F"])
def test_a_pillow_image_keeps_its_mode(mode: str) -> None:
    base = {"I;16": noise(40, 30, 1, np.uint16)[..., 0], "F": np.zeros((40, 30), np.float32)}
    image = Image.fromarray(base[mode]) if mode in base else Image.new(mode, (30, 40))
    small = resampling.resize(image, 17, 13)
    assert (small.mode, small.size) == (mode, (13, 17))
