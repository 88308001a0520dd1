"""A picture comes upright by whatever states how it is turned, and the same on every way in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from runtime.images.codecs import files, formats, sixteen_bit, vips
from runtime.images.codecs.strips import Rows
from tests.support.odd_files import png

PACKET = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
TAG = 0x0112

pytestmark = pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")


def _stating(format_name: str, tag: int | None) -> dict[str, Any]:
    """What Pillow writes a file with that states 6 in XMP, and a tag of EXIF or directory."""
    exif = Image.Exif()
    if tag is not None:
        exif[TAG] = tag
    if format_name == "TIFF":
        exif[700] = PACKET
        return {"exif": exif}
    if format_name != "PNG":
        return {"exif": exif, "xmp": PACKET}
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", PACKET.decode())
    return {"exif": exif, "pnginfo": info}


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize(("tag", "turned"), [(None, True), (1, False), (3, False)])
def test_strips_are_turned_by_xmp_where_a_whole_image_is(
    tmp_path: Path, format_name: str, tag: int | None, turned: bool
) -> None:
    path = tmp_path / "in"
    values = np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)
    Image.fromarray(values).save(path, format_name, **_stating(format_name, tag))
    whole = np.asarray(files.read(path).image)
    assert (whole.shape[:2] == (10, 6)) == turned
    rows = Rows(path, format_name)
    np.testing.assert_array_equal(rows.read(0, rows.form.height), whole)


@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_sixteen_bits_are_turned_by_xmp(format_name: str) -> None:
    values = np.random.default_rng(0).integers(0, 1 << 16, (6, 10, 3)).astype(np.uint16)
    if format_name == "PNG":
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
        data = png(10, 6, 16, 2, rows, PACKET)
    else:  # without the tag that libvips writes
        data = sixteen_bit.encode(values, format_name, vips.Metadata(xmp=PACKET))
        data = data.replace(b"\x12\x01\x03\0", b"\x13\x01\x03\0")
    photo = files.decode(data, "x")
    np.testing.assert_array_equal(photo.image, np.rot90(values, -1))
    again = files.decode(formats.encode(photo, format_name), "x")
    np.testing.assert_array_equal(again.image, photo.image)
