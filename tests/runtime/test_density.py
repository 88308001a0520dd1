"""Dots per inch: the same number wherever a format can hold it, and none where none was stated."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import runtime
from runtime.convert import file
from runtime.convert.job import Job
from runtime.images.codecs import files, formats, vips
from runtime.images.codecs.formats import Photo
from tests.support.one_model import OneModel

HOLD = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "AVIF")
SUFFIX = {"PNG": "png", "JPEG": "jpg", "TIFF": "tif", "BMP": "bmp", "WEBP": "webp", "AVIF": "avif"}

needs_vips = pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")


def _file(format_name: str, size: tuple[int, int] = (12, 8), **options: Any) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format_name, **options)
    return buffer.getvalue()


def _stating(format_name: str, dots: tuple[float, float], **options: Any) -> bytes:
    """A file that another program wrote with this density."""
    if format_name in ("WEBP", "AVIF"):
        exif = Image.Exif()
        exif[282], exif[283], exif[296] = *dots, 2
        return _file(format_name, exif=exif, **options)
    return _file(format_name, dpi=dots, **options)


def _stated(data: bytes) -> dict[str, object]:
    """What another program finds: Pillow, or where its own default would speak, the bytes."""
    with Image.open(io.BytesIO(data)) as image:
        exif, found = image.getexif(), dict[str, object]()
        if image.format == "JPEG":
            found["native"] = image.info["jfif_density"] if image.info.get("jfif_unit") else None
        elif image.format == "TIFF":
            x = image.tag_v2.get(282)  # type: ignore[attr-defined]
            found["native"] = None if x is None else (float(x), float(exif[283]))
        else:
            dots = image.info.get("dpi")
            found["native"] = dots if dots and any(dots) else None
        x = exif.get(282)
        found["exif"] = None if x is None else (float(x), float(exif[283]))
        return found


@pytest.mark.parametrize("source", HOLD)
@pytest.mark.parametrize("target", HOLD)
@pytest.mark.parametrize("dots", [(300, 300), (72, 150)])
def test_every_format_hands_on_the_number_it_was_given(
    source: str, target: str, dots: tuple[int, int]
) -> None:
    photo = files.decode(_stating(source, dots), source)
    again = formats.encode(photo, target)
    assert photo.density == dots
    assert files.decode(again, target).density == dots
    stated = _stated(again)
    where = "exif" if target in ("WEBP", "AVIF") else "native"
    assert stated[where] == pytest.approx(dots, abs=0.02)


@pytest.mark.parametrize("target", HOLD)
@pytest.mark.parametrize("exif", [False, True], ids=["bare", "with EXIF"])
def test_no_format_states_what_nobody_stated(target: str, exif: bool) -> None:
    tags = Image.Exif()
    tags[271] = "a maker"
    photo = files.decode(_file("PNG", exif=tags if exif else b""), "png")
    assert photo.density is None
    assert _stated(formats.encode(photo, target)) == {"native": None, "exif": None}


@pytest.mark.parametrize("source", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "AVIF", "PPM", "GIF"])
def test_a_format_s_default_is_no_density(source: str) -> None:
    options = {"dpi": (0, 0)} if source == "BMP" else {}
    assert files.decode(_file(source, **options), source).density is None


def test_dots_per_centimetre_and_per_metre_are_dots_per_inch() -> None:
    tiff = _file("TIFF", resolution_unit=3, x_resolution=118.11, y_resolution=118.11)
    assert files.decode(tiff, "tiff").density == (300, 300)
    jfif = bytearray(_file("JPEG", dpi=(300, 300)))
    jfif[13:18] = b"\x02" + struct.pack(">HH", 100, 100)  # after "JFIF" and its version
    assert files.decode(bytes(jfif), "jpeg").density == pytest.approx((254, 254))


def test_a_ratio_of_sides_is_no_density() -> None:
    jfif = bytearray(_file("JPEG"))
    jfif[13:18] = b"\x00" + struct.pack(">HH", 2, 1)
    assert files.decode(bytes(jfif), "jpeg").density is None
    tiff = _file("TIFF", resolution_unit=1, x_resolution=300, y_resolution=300)
    assert files.decode(tiff, "tiff").density is None


def test_a_picture_turned_on_its_side_swaps_across_and_down() -> None:
    exif = Image.Exif()
    exif[274] = 6
    photo = files.decode(_file("JPEG", dpi=(72, 150), exif=exif), "jpeg")
    assert photo.density == (150, 72)


def test_nonsense_is_left_out() -> None:
    exif = Image.Exif()
    exif[282], exif[283] = float("inf"), 300
    assert files.decode(_file("WEBP", exif=exif), "webp").density is None
    assert files.decode(_file("TIFF", dpi=(0, 0)), "tiff").density is None


@needs_vips
@pytest.mark.parametrize("target", ["PNG", "TIFF"])
@pytest.mark.parametrize("dots", [None, (300.0, 300.0), (72.0, 150.0)])
@pytest.mark.parametrize("exif", [False, True])
def test_sixteen_bits_keep_it_too(
    target: str, dots: tuple[float, float] | None, exif: bool
) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, (8, 12, 3), np.uint16)
    tags = Image.Exif()
    tags[271] = "a maker"
    data = formats.encode(
        Photo(pixels, exif=tags.tobytes() if exif else None, density=dots), target
    )
    again = files.decode(data, target)
    assert again.density == dots
    assert np.array_equal(again.image, pixels)
    assert dots is not None or _stated(data) == {"native": None, "exif": None}
    with Image.open(io.BytesIO(data)) as image:
        assert image.getexif().get(271) == ("a maker" if exif and target == "PNG" else None)


@needs_vips
@pytest.mark.parametrize("dots", [None, (300.0, 300.0)])
@pytest.mark.parametrize("target", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("exif", [False, True])
def test_strips_keep_it_too(
    tiny_model: runtime.Model,
    dots: tuple[float, float] | None,
    target: str,
    exif: bool,
    tmp_path: Path,
) -> None:
    tags = Image.Exif()
    tags[271] = "a maker"
    options: dict[str, Any] = {"dpi": dots} if dots else {}
    source = tmp_path / "source.jpg"
    source.write_bytes(_file("JPEG", exif=tags if exif else b"", **options))
    output = tmp_path / f"result.{SUFFIX[target]}"
    job = Job("upscale", OneModel(tiny_model), strips=True)
    file.convert_file(str(source), str(output), target, job, _Free())
    data = output.read_bytes()
    assert files.decode(data, target).density == dots
    if dots is None:
        assert _stated(data) == {"native": None, "exif": None}
    with Image.open(output) as image:
        image.load()
        kept = exif and target != "TIFF"  # libvips writes no EXIF into a TIFF
        assert image.getexif().get(271) == ("a maker" if kept else None)
        assert image.size == (12 * tiny_model.scale, 8 * tiny_model.scale)


class _Free:
    """A gate that is never shut."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        return None
