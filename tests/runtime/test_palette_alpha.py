"""Palettes whose colours have an alpha of their own, as in a TGA and after `Image.quantize`."""

from __future__ import annotations

import contextlib
import io
import struct

import numpy as np
import pytest
from PIL import Image

from runtime import ImageError, Model
from runtime.convert import file
from runtime.convert.job import Job
from runtime.images.codecs import files
from runtime.images.pixels import arrays
from tests.support.one_model import OneModel

FAINT = ((10, 20, 30, 255), (40, 50, 60, 128), (70, 80, 90, 0), (1, 2, 3, 255))
OPAQUE = tuple((*colour[:3], 255) for colour in FAINT)


def _tga(colours: tuple[tuple[int, ...], ...], first: int = 0) -> bytes:
    """A TGA of 2×2 pixels, one of each colour; its palette begins with number `first`."""
    head = struct.pack("<BBBHHBHHHHBB", 0, 1, 1, first, 4, 32, 0, 0, 2, 2, 8, 0x28)
    palette = b"".join(bytes((blue, green, red, a)) for red, green, blue, a in colours)
    return head + palette + bytes(range(first, first + 4))


def _pixels(colours: tuple[tuple[int, ...], ...]) -> np.ndarray:
    return np.array(colours, np.uint8).reshape(2, 2, -1)


@pytest.mark.parametrize("first", [0, 7])
def test_the_alpha_of_a_tga_s_palette_is_read(first: int) -> None:
    photo = files.decode(_tga(FAINT, first), "x")
    assert photo.result_mode == "RGBA"
    pictures, _ = arrays.split(photo.image)
    np.testing.assert_array_equal(pictures[0].pixels, _pixels(FAINT))


@pytest.mark.parametrize("first", [0, 7])
def test_a_palette_whose_used_colours_are_opaque_has_no_alpha(first: int) -> None:
    assert files.decode(_tga(OPAQUE, first), "x").result_mode == "RGB"


def test_no_jpeg_is_made_of_it(tiny_model: Model) -> None:
    job = Job("upscale", OneModel(tiny_model))
    with pytest.raises(ImageError, match="JPEG cannot hold alpha"):
        file.convert_data(_tga(FAINT), "x", "JPEG", job, contextlib.nullcontext())


def test_a_model_keeps_it(tiny_model: Model) -> None:
    lazy = Image.open(io.BytesIO(_tga(FAINT)))
    result = tiny_model.upscale(lazy)
    assert result.mode == "RGBA"
    np.testing.assert_array_equal(result, tiny_model.upscale(Image.fromarray(_pixels(FAINT))))


def test_a_model_keeps_the_alpha_of_a_quantized_picture(tiny_model: Model) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 4), np.uint8))
    picture = picture.quantize(16, Image.Quantize.FASTOCTREE)
    result = tiny_model.upscale(picture)
    assert result.mode == "RGBA"
    np.testing.assert_array_equal(result, tiny_model.upscale(picture.convert("RGBA")))
