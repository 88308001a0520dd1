"""TIFFs whose tags give samples a meaning that Pillow or libvips would pass over."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from runtime import ImageError
from runtime.images.codecs import files, strips, vips
from tests.support.odd_files import tiff

WIDTH, HEIGHT = 6, 4

needs_vips = pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")


def _values(channels: int, bits: int) -> np.ndarray:
    high = np.random.default_rng(0).integers(0, 1 << bits, (HEIGHT, WIDTH, channels))
    return high.astype(f"<u{bits // 8}")


@pytest.mark.parametrize(
    ("bits", "photometric"), [([8], 1), ([16], 1), ([32], 1), ([8] * 3, 2), ([16] * 3, 2)]
)
def test_signed_samples_are_refused(bits: list[int], photometric: int) -> None:
    data = tiff(
        WIDTH,
        HEIGHT,
        bits,
        photometric,
        [bytes(WIDTH * HEIGHT * sum(bits) // 8)],
        sample_format=2,
    )
    with pytest.raises(ImageError, match=r"^x (has|is a TIFF of 3 channels of \d+ bits,) signed"):
        files.decode(data, "x")


def test_floats_beyond_white_are_told_as_such_of_a_file() -> None:
    values = np.linspace(0, 7, WIDTH * HEIGHT, dtype="<f4").tobytes()
    data = tiff(WIDTH, HEIGHT, [32], 1, [values], sample_format=3)
    with pytest.raises(ImageError, match=r"^x has float samples from 0 to 7, .*magick"):
        files.decode(data, "x")


@pytest.mark.parametrize(
    ("bits", "photometric", "told"),
    [
        ([32] * 3, 2, "3 channels of 32 bits, unsigned"),
        ([8, 8], 1, "2 channels of 8 bits, unsigned"),
        ([64], 1, "one channel of 64 bits, unsigned"),
    ],
)
def test_samples_that_no_reader_takes_are_unsupported_not_damaged(
    bits: list[int], photometric: int, told: str
) -> None:
    data = tiff(WIDTH, HEIGHT, bits, photometric, [bytes(WIDTH * HEIGHT * sum(bits) // 8)])
    with pytest.raises(ImageError, match=f"^x is a TIFF of {told}, which this program does not"):
        files.decode(data, "x")


def test_a_tiff_without_its_directory_is_damaged() -> None:
    data = tiff(WIDTH, HEIGHT, [8], 1, [bytes(WIDTH * HEIGHT)])
    with pytest.raises(ImageError, match=r"^x is damaged: the TIFF's directory cannot be read"):
        files.decode(data[: 8 + WIDTH * HEIGHT], "x")


@pytest.mark.parametrize("bits", [8, pytest.param(16, marks=needs_vips)])
@pytest.mark.parametrize("colours", [1, 3])
def test_an_extra_channel_that_is_no_alpha_is_left_out_with_a_word(
    bits: int, colours: int, caplog: pytest.LogCaptureFixture
) -> None:
    if (colours, bits) == (1, 16):
        pytest.skip("Pillow does not open 16-bit gray with an extra channel")
    values = _values(colours + 1, bits)
    data = tiff(
        WIDTH, HEIGHT, [bits] * (colours + 1), 2 if colours == 3 else 1, [values.tobytes()], extra=0
    )
    with caplog.at_level(logging.WARNING):
        photo = files.decode(data, "'x.tif'")
    read = np.asarray(photo.image).reshape(HEIGHT, WIDTH, -1)
    np.testing.assert_array_equal(read, values[..., :colours])
    assert caplog.messages == ["'x.tif': 1 extra channel that is no alpha: left out"]


@needs_vips
def test_of_sixteen_bits_the_alpha_is_straight_too(tmp_path: Path) -> None:
    straight = _values(4, 16)
    straight[..., 3] |= 0x4000  # so that the product holds the colour
    alpha = straight[..., 3:] / 65535
    multiplied = straight.copy()
    multiplied[..., :3] = np.rint(straight[..., :3] * alpha)
    data = tiff(WIDTH, HEIGHT, [16] * 4, 2, [multiplied.tobytes()], extra=1)
    read = np.asarray(files.decode(data, "x").image).astype(int)
    assert np.abs(read - straight).max() <= 4
    path = tmp_path / "in.tif"
    path.write_bytes(data)
    assert strips.probe(path) is None  # libvips would take the products for the colours


def test_gray_multiplied_by_alpha_is_read_straight() -> None:
    values = np.full((HEIGHT, WIDTH, 2), 100, np.uint8)
    values[..., 1] = 200
    photo = files.decode(tiff(WIDTH, HEIGHT, [8, 8], 1, [values.tobytes()], extra=1), "x")
    assert photo.image.mode == "LA"  # type: ignore[union-attr]
    assert np.abs(np.asarray(photo.image)[..., 0].astype(int) - 127).max() <= 1


@pytest.mark.parametrize("bits", [8, pytest.param(16, marks=needs_vips)])
def test_planes_in_tiles_are_unsupported_not_damaged(bits: int, tmp_path: Path) -> None:
    side = 16
    values = np.random.default_rng(0).integers(0, 1 << bits, (3, side, side))
    planes = [plane.astype(f"<u{bits // 8}") for plane in values]
    data = tiff(side, side, [bits] * 3, 2, [plane.tobytes() for plane in planes], tile=side)
    path = tmp_path / "in.tif"
    path.write_bytes(data)
    assert strips.probe(path) is None
    if bits == 8:
        read = np.asarray(files.decode(data, "x").image)
        np.testing.assert_array_equal(read, np.stack(planes, axis=-1))
    else:
        with pytest.raises(ImageError, match=r"^x has a plane of tiles for each channel"):
            files.decode(data, "x")
