"""HEIC photographs: read with the extra, named without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.errors import ImageError
from runtime.images.codecs import files, formats, heic, vips
from tests.support import heic_files

needs_reader = pytest.mark.skipif(heic.find() is None, reason="pi-heif is not installed")


@needs_reader
def test_a_photograph_is_turned_once_and_keeps_its_metadata() -> None:
    photo = files.decode(heic_files.TURNED, "it")
    assert isinstance(photo.image, Image.Image)
    assert (photo.size, photo.image.mode) == ((16, 24), "RGB")
    corners = [photo.image.getpixel(at) for at in ((3, 5), (12, 5), (3, 18), (12, 18))]
    expected = [(20, 20, 20), (200, 40, 40), (40, 60, 200), (250, 250, 250)]
    assert np.abs(np.subtract(corners, expected)).max() < 12
    assert photo.exif is not None
    exif = Image.Exif()
    exif.load(photo.exif)
    assert (exif.get(0x0112), exif[0x010F]) == (None, "Camera")


@needs_reader
def test_alpha_is_read() -> None:
    photo = files.decode(heic_files.ALPHA, "it")
    assert isinstance(photo.image, Image.Image)
    assert photo.image.mode == "RGBA"
    assert (photo.image.getpixel((2, 2))[3], photo.image.getpixel((21, 2))[3]) == (0, 255)


@needs_reader
def test_ten_bits_become_sixteen_over_the_whole_range(tmp_path: Path) -> None:
    photo = files.decode(heic_files.TEN_BITS, "it")
    assert isinstance(photo.image, np.ndarray)
    assert (photo.image.shape, photo.image.dtype) == ((16, 24, 3), np.uint16)
    assert (photo.image.min(), photo.image.max()) == (0, 65535)
    ramp = np.linspace(0, 65535, 24)
    assert np.abs(photo.image[0, :, 0] - ramp).max() < 200
    if vips.find() is not None:
        formats.write(photo, tmp_path / "out.png")
        np.testing.assert_array_equal(files.read(tmp_path / "out.png").image, photo.image)


@needs_reader
def test_a_limit_and_damage_are_our_errors() -> None:
    with pytest.raises(ImageError, match=r"it has 16×24 pixels, the limit is 100"):
        files.decode(heic_files.TURNED, "it", 100)
    for cut in (20, 100, len(heic_files.TURNED) - 40):
        with pytest.raises(ImageError, match="it is damaged"):
            files.decode(heic_files.TURNED[:cut], "it")


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heic, "find", lambda: None)
    monkeypatch.setattr(files, "READ", tuple(name for name in files.READ if name != heic.FORMAT))
    message = r"it is a HEIC: pip install 'hcflow-deploy\[heic\]' reads it"
    with pytest.raises(ImageError, match=message):
        files.decode(heic_files.TURNED, "it")
