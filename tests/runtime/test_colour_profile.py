"""Colour profiles (ICC) that are odd, large, or of gray."""

from __future__ import annotations

import io
import logging
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from runtime.images.codecs import files, formats, strips, vips

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

needs_vips = pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")


def _file(format_name: str, icc: bytes, mode: str = "RGB", **options: Any) -> bytes:
    """A file of 16×8 pixels with a profile."""
    buffer = io.BytesIO()
    ramp = Image.fromarray(np.arange(128, dtype=np.uint8).reshape(8, 16) * 2)
    ramp.convert(mode).save(buffer, format_name, icc_profile=icc, **options)
    return buffer.getvalue()


def _tiff_of_profile_type(kind: int) -> bytes:
    """A TIFF whose profile is of another of TIFF's types."""
    data = _file("TIFF", SRGB)
    entry = struct.pack("<HHI", 34675, 7, len(SRGB))
    assert data.count(entry) == 1
    size = {2: 1, 3: 2, 4: 4}[kind]
    return data.replace(entry, struct.pack("<HHI", 34675, kind, len(SRGB) // size))


@pytest.mark.parametrize("kind", [2, 3, 4])
def test_a_profile_that_is_no_bytes_is_left_out_with_a_warning(
    kind: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        photo = files.decode(_tiff_of_profile_type(kind), "'x'")
    assert "'x': damaged colour profile is left out" in caplog.text
    for target in ("PNG", "TIFF", "JPEG", "WEBP", "AVIF"):
        assert files.decode(formats.encode(photo, target), "x").icc is None


@needs_vips
def test_strips_leave_it_out_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "in.tif"
    path.write_bytes(_tiff_of_profile_type(3))
    assert strips.Rows(path, "TIFF").form.icc is None


@needs_vips
def test_strips_keep_the_whole_of_a_large_profile(tmp_path: Path) -> None:
    path = tmp_path / "in.jpg"
    profile = SRGB + os.urandom(7_000_000)
    path.write_bytes(_file("JPEG", profile))
    assert strips.Rows(path, "JPEG").form.icc == profile


def test_a_profile_that_no_jpeg_can_hold_is_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    photo = files.decode(_file("TIFF", bytes(17_000_000)), "'x'")
    assert photo.icc is None
    assert "'x': colour profile of 17000000 bytes is left out" in caplog.text
