"""EXIF whose tags are of types that they cannot have is left out of a sound picture."""

from __future__ import annotations

import io
import logging
import struct
from pathlib import Path

import pytest
from PIL import Image

from runtime.images.codecs import files, strips, vips
from runtime.images.codecs.metadata import exif_xmp

_VALUES = {5: struct.pack("<2I", 5, 6), 10: struct.pack("<2i", -5, 6), 12: struct.pack("<d", 1.5)}
_TEXTS = {"description": 270, "maker": 271, "date": 306, "copyright": 33432}

needs_vips = pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")


def _exif(tag: int, kind: int) -> bytes:
    """EXIF of one tag, which is a text, as a number of a TIFF type."""
    entry = struct.pack("<HHII", tag, kind, 1, 26)
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + bytes(4) + _VALUES[kind]


def _file(format_name: str, exif: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 10, 30)).save(buffer, format_name, exif=exif)
    return buffer.getvalue()


def _tiff() -> bytes:
    """A TIFF whose maker is a fraction."""
    buffer = io.BytesIO()
    tags = Image.Exif()
    tags[271] = "a camera"  # eight letters, as long as a fraction
    Image.new("RGB", (16, 16), (200, 10, 30)).save(buffer, "TIFF", exif=tags)
    text = struct.pack("<HHI", 271, 2, 9)
    assert buffer.getvalue().count(text) == 1
    return buffer.getvalue().replace(text, struct.pack("<HHI", 271, 5, 1))


@pytest.mark.parametrize("kind", _VALUES)
@pytest.mark.parametrize("text", _TEXTS)
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP"])
def test_a_text_that_is_a_number_is_left_out_with_a_warning(
    format_name: str, text: str, kind: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        photo = files.decode(_file(format_name, _exif(_TEXTS[text], kind)), "'x'")
    assert (photo.size, photo.exif) == ((16, 16), None)
    assert "'x': damaged EXIF is left out" in caplog.text


def test_so_is_that_of_a_tiff(caplog: pytest.LogCaptureFixture) -> None:
    assert files.decode(_tiff(), "'x'").exif is None
    assert "'x': damaged EXIF is left out" in caplog.text


@pytest.mark.parametrize("kind", _VALUES)
def test_so_is_that_which_libvips_hands_on(kind: int, caplog: pytest.LogCaptureFixture) -> None:
    assert exif_xmp.upright_exif(_exif(271, kind)) is None
    assert "damaged EXIF is left out" in caplog.text


@needs_vips
def test_strips_leave_it_out_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "in.tif"
    path.write_bytes(_tiff())
    assert strips.Rows(path, "TIFF").form.exif is None
    assert "in.tif': damaged EXIF is left out" in caplog.text
