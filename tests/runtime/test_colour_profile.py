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
from PIL import Image, ImageCms, PngImagePlugin

from runtime import ImageError, Model
from runtime.convert import image
from runtime.convert.job import Job
from runtime.images.codecs import files, formats, size_limits, strips, vips
from runtime.images.codecs.bounds import structure
from runtime.images.codecs.formats import Photo
from runtime.images.frames import encode
from runtime.images.frames.animation import Timing
from tests.support.one_model import OneModel

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


def _large_profile() -> bytes:
    """A sound one, whose header states its size."""
    profile = SRGB + os.urandom(1_200_000)
    return struct.pack(">I", len(profile)) + profile[4:]


@pytest.mark.parametrize("source", ["JPEG", "TIFF", "WEBP"])
def test_a_png_with_a_large_profile_is_written_with_a_warning_and_read_again(
    source: str, caplog: pytest.LogCaptureFixture
) -> None:
    profile = _large_profile()
    photo = files.decode(_file(source, profile), "x")
    data = formats.encode(photo, "PNG")
    assert "programs that use Pillow open no PNG" in caplog.text
    assert files.decode(data, "x").icc == profile


@needs_vips
def test_strips_write_and_read_such_a_png_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raw, path, profile = tmp_path / "raw", tmp_path / "a.png", _large_profile()
    raw.write_bytes(bytes(12))
    form = strips.Form(2, 2, 3, np.dtype(np.uint8), profile)
    strips.encode(raw, form, path, "PNG")
    assert "programs that use Pillow open no PNG" in caplog.text
    assert strips.probe(path) == ("PNG", 2, 2)
    assert strips.Rows(path, "PNG").form.icc == profile


def test_a_downscale_to_png_keeps_a_large_profile_and_warns_once(
    tiny_model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    profile = _large_profile()
    photo = files.decode(_file("JPEG", profile), "x")
    made = image.downscale(Job("downscale", OneModel(tiny_model)), tiny_model, photo, "PNG")
    assert files.decode(made.data, "x").icc == profile
    assert caplog.text.count("programs that use Pillow open no PNG") == 1


def test_a_png_does_not_unpack_more_than_the_limit() -> None:
    with pytest.raises(ImageError, match="too large"):
        files.decode(_file("PNG", bytes(size_limits.MOST_PROFILE + 1)), "x")


def test_a_png_of_many_profiles_is_refused_before_any_is_unpacked() -> None:
    data = _file("PNG", bytes(1000))
    start = data.index(b"iCCP") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    many = data[:start] + data[start:end] * (structure.MOST_PROFILES + 1) + data[end:]
    with pytest.raises(ImageError, match="more than 10 colour profiles, the limit"):
        files.decode(many, "x")


def test_pillows_limit_of_profiles_is_as_before_afterwards() -> None:
    before = PngImagePlugin.MAX_TEXT_CHUNK
    files.decode(_file("PNG", SRGB), "x")
    assert before == PngImagePlugin.MAX_TEXT_CHUNK


@needs_vips
@pytest.mark.parametrize("target", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_strips_drop_what_pads_a_profile(target: str, tmp_path: Path) -> None:
    _written_by_strips(tmp_path, SRGB + b"\0", target)
    assert Image.open(tmp_path / "out").info["icc_profile"] == SRGB


@needs_vips
@pytest.mark.parametrize("profile", [SRGB[:-8], b"nonsense", bytes(200)])
@pytest.mark.parametrize("target", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_strips_leave_a_damaged_profile_out_with_a_warning(
    target: str, profile: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _written_by_strips(tmp_path, profile, target)
    assert not Image.open(tmp_path / "out").info.get("icc_profile")
    assert "damaged colour profile is left out of the result" in caplog.text


@needs_vips
def test_sixteen_bits_are_written_with_a_padded_profile_too() -> None:
    photo = Photo(np.zeros((2, 2, 3), np.uint16), SRGB + b"\0")
    assert files.decode(formats.encode(photo, "PNG"), "x").icc == SRGB


def _written_by_strips(folder: Path, profile: bytes, target: str, channels: int = 3) -> None:
    """Write a file `out` of black pixels."""
    (folder / "raw").write_bytes(bytes(4 * channels))
    form = strips.Form(2, 2, channels, np.dtype(np.uint8), profile)
    strips.encode(folder / "raw", form, folder / "out", target)


def _gray_profile(gamma: float) -> bytes:
    """A profile of gray with this gamma, by hand (ISO 15076-1, 7)."""
    white = struct.pack(">4s4x3i", b"XYZ ", 63190, 65536, 54061)  # D50
    curve = struct.pack(">4s4xIH2x", b"curv", 1, round(gamma * 256))
    table = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 16)
    head = struct.pack(">I4x4s4s4s4s", 192, b"\2\x40\0\0", b"mntr", b"GRAY", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + table + white + curve


GRAY = _gray_profile(1.0)
GRAYS = np.arange(0, 256, 2, dtype=np.uint8).reshape(8, 16)


def _srgb_of_linear(values: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    linear = values / 255
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("target", ["PNG", "TIFF", "JPEG"])
def test_gray_keeps_its_profile_in_files_of_gray(target: str) -> None:
    photo = files.decode(formats.encode(Photo(Image.fromarray(GRAYS), GRAY), target), "x")
    assert isinstance(photo.image, Image.Image)
    assert (photo.image.mode, photo.icc) == ("L", GRAY)


@pytest.mark.parametrize("mode", ["L", "LA"])
@pytest.mark.parametrize("target", ["WEBP", "AVIF"])
def test_gray_becomes_srgb_by_its_profile_in_files_of_rgb(target: str, mode: str) -> None:
    image = Image.fromarray(GRAYS).convert(mode)
    photo = files.decode(formats.encode(Photo(image, GRAY), target), "x")
    assert isinstance(photo.image, Image.Image)
    assert photo.icc is None
    pixels = np.asarray(photo.image.convert("RGB")).astype(float)
    error = np.abs(pixels - _srgb_of_linear(GRAYS.astype(float))[..., None])
    assert error.max() <= (1 if target == "WEBP" else 6)


@needs_vips
@pytest.mark.parametrize("channels", [1, 2])
def test_so_it_does_by_strips(channels: int, tmp_path: Path) -> None:
    pixels = np.stack([GRAYS, np.full_like(GRAYS, 200)][:channels], axis=-1)
    (tmp_path / "raw").write_bytes(pixels.tobytes())
    form = strips.Form(16, 8, channels, np.dtype(np.uint8), GRAY)
    strips.encode(tmp_path / "raw", form, tmp_path / "out", "WEBP")
    by_strips = files.read(tmp_path / "out")
    whole = Photo(Image.fromarray(pixels[..., 0] if channels == 1 else pixels), GRAY)
    assert by_strips.icc is None
    in_memory = files.decode(formats.encode(whole, "WEBP"), "x")
    np.testing.assert_array_equal(np.asarray(by_strips.image), np.asarray(in_memory.image))


def test_so_it_does_in_an_animation() -> None:
    frames = [Image.fromarray(GRAYS), Image.fromarray(GRAYS[::-1].copy())]
    like, file = Photo(frames[0], GRAY), io.BytesIO()
    encode.encode(file, iter(frames), Timing((100, 100)), like, "WEBP")
    made = Image.open(file)
    assert "icc_profile" not in made.info
    for index, frame in enumerate(frames):
        made.seek(index)
        shown = _srgb_of_linear(np.asarray(frame).astype(float))
        assert np.abs(np.asarray(made.convert("RGB"))[..., 0] - shown).max() <= 1


@pytest.mark.parametrize("target", ["PNG", "TIFF", "JPEG", "WEBP", "AVIF"])
def test_rgb_loses_a_profile_of_gray_with_a_warning(
    target: str, caplog: pytest.LogCaptureFixture
) -> None:
    photo = Photo(Image.new("RGB", (16, 8), (200, 30, 10)), GRAY)
    assert files.decode(formats.encode(photo, target), "x").icc is None
    assert "colour profile of gray is left out: the result is RGB" in caplog.text


def test_a_broken_profile_of_gray_is_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    photo = Photo(Image.fromarray(GRAYS), GRAY[:140])
    again = files.decode(formats.encode(photo, "WEBP"), "x")
    assert again.icc is None
    np.testing.assert_array_equal(np.asarray(again.image)[..., 0], GRAYS)
    assert "colour profile of gray is left out" in caplog.text
