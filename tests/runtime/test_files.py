"""Image files: every odd one ends in a right picture or one clear line; none is half-written."""

from __future__ import annotations

import errno
import io
import logging
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from runtime import FileError, ImageError
from runtime.images.codecs import files, formats, size_limits, strips
from runtime.images.codecs.formats import Photo
from runtime.images.codecs.metadata import exif_xmp
from runtime.system import atomic
from tests.support.odd_files import png, tiff


def _bytes(image: Image.Image, format_name: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def _ramp(mode: str = "RGB", size: tuple[int, int] = (6, 4)) -> Image.Image:
    values = np.arange(size[0] * size[1] * 3, dtype=np.uint8).reshape(size[1], size[0], 3)
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x is empty"),
        (b"Dear reader, this is a letter.", "x is not an image this program reads"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "x is not an image"),
        (_bytes(_ramp(size=(64, 64)))[:-40], "x is damaged: "),
        (_bytes(_ramp(size=(64, 64)), "JPEG")[:-200], "x is damaged: "),
        (_bytes(_ramp(size=(64, 64)))[:30], "x is "),
        (png(0, 0, 8, 2), "x is "),
        (b"P6 0 0 255\n", "x is "),
        (png(2, 1, 16, 2, bytes(13)), "x has more than 8 bits a channel in colour"),
        (png(2, 1, 16, 6, bytes(17)), "x has more than 8 bits a channel in colour"),
        (png(2, 1, 16, 4, bytes(9)), "x has more than 8 bits a channel in colour"),
        (b"P6 2 1 65535\n" + bytes(12), "x has more than 8 bits a channel in colour"),
        (b"P3 1 1 65535\n1 2 3\n", "x has more than 8 bits a channel in colour"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(
    data: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "runtime.images.codecs.vips.find", lambda: None
    )  # as where pyvips is not installed
    with pytest.raises(ImageError, match=re.escape(message)) as caught:
        files.decode(data, "x")
    assert "\n" not in str(caught.value)


def test_a_large_file_that_is_no_image_is_not_read_into_memory(tmp_path: Path) -> None:
    film = tmp_path / "film.mkv"
    with film.open("wb") as file:
        file.truncate(1 << 42)  # 4 TB, of which no block is on the disk
    with pytest.raises(ImageError, match=r"film\.mkv' is not an image this program reads"):
        files.read(film)
    with pytest.raises(ImageError, match="is not an image"):
        files.read("/dev/zero")


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_png_cut_or_spoilt_anywhere_raises_nothing_else(cut: int) -> None:
    data = _bytes(_ramp(size=(32, 32)))
    spoilt = data[:cut] + bytes([data[cut % len(data)] ^ 0x55]) + data[cut + 1 :]
    for broken in (data[:cut], spoilt):
        try:
            files.decode(broken, "x")
        except ImageError as error:
            assert str(error).startswith("x ")  # noqa: PT017 - some damage leaves a right picture


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    bomb = png(20_000, 15_000, 8, 2)
    with pytest.raises(ImageError, match="x has 20000×15000 pixels, the limit is 178956970"):
        files.decode(bomb, "x")


@pytest.mark.filterwarnings("error")
def test_ninety_megapixels_are_read_without_a_warning() -> None:
    data = _bytes(Image.new("1", (10_000, 9_000)))
    assert files.decode(data, "x").image.size == (10_000, 9_000)
    with pytest.raises(ImageError, match="the limit is 1000000: raise --max-pixels"):
        files.decode(data, "x", max_pixels=1_000_000)


def test_pillows_limit_is_as_before_when_the_last_thread_has_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    first, second = size_limits.any_size(), size_limits.any_size()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS is None
    second.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS == 7
    with pytest.raises(ImageError):
        files.decode(b"no image", "x")
    assert Image.MAX_IMAGE_PIXELS == 7


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="there is no such file"):
        files.read(tmp_path / "nowhere.png")
    with pytest.raises(FileError, match="Is a directory"):
        files.read(tmp_path)


def test_a_rotated_jpeg_comes_upright_and_loses_the_tag() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by a quarter
    exif[0x010F] = "Camera"
    photo = files.decode(_bytes(_ramp(size=(6, 4)), "JPEG", exif=exif), "x")
    assert photo.image.size == (4, 6)
    again = files.decode(formats.encode(photo, "JPEG"), "x")
    assert again.image.size == (4, 6)
    tags = Image.Exif()
    tags.load(again.exif or b"")
    assert 0x0112 not in tags
    assert tags[0x010F] == "Camera"


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("exif", [b"garbage", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\xff"])
def test_damaged_exif_is_left_out_of_a_sound_picture(format_name: str, exif: bytes) -> None:
    data = _bytes(_ramp(size=(8, 8)), format_name, exif=b"Exif\0\0" + exif)
    photo = files.decode(data, "x")
    assert files.decode(formats.encode(photo, "PNG"), "x").size == (8, 8)
    exif_xmp.upright_exif(b"Exif\0\0" + exif)  # as libvips gives it


def test_exif_that_cannot_be_written_again_still_turns_the_picture() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Camera"
    broken = exif.tobytes().replace(b"\x01\x0f", b"\x01\x00")  # the text is the picture's width
    data = _bytes(_ramp(size=(8, 4)), "PNG", exif=broken)
    assert files.decode(data, "x").size == (4, 8)


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_the_colour_profile_is_kept(format_name: str) -> None:
    icc = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = files.decode(_bytes(_ramp(), icc_profile=icc), "x")
    assert files.decode(formats.encode(photo, format_name), "x").icc == icc


def test_cmyk_becomes_rgb() -> None:
    photo = files.decode(_bytes(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), "x")
    assert photo.image.mode == "RGB"
    np.testing.assert_allclose(np.asarray(photo.image)[4, 4], [255, 0, 0], atol=3)


def test_a_broken_profile_of_cmyk_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    data = _bytes(Image.new("CMYK", (8, 8)), "JPEG", icc_profile=b"nonsense")
    assert files.decode(data, "x").image.mode == "RGB"
    assert "its colour profile is not used" in caplog.text


def test_of_an_animation_the_first_frame_is_used_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = _bytes(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with caplog.at_level(logging.WARNING):
        image = files.decode(data, "x").image.convert("RGB")
    assert image.getpixel((0, 0)) == (255, 0, 0)
    assert "x has 2 frames: the first is used" in caplog.text


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16"])
def test_png_gives_every_mode_back(mode: str) -> None:
    image = (
        Image.fromarray(np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000)
        if mode == "I;16"
        else _ramp(mode)
    )
    photo = files.decode(_bytes(image), "x")
    assert photo.image.mode == mode
    np.testing.assert_array_equal(np.asarray(photo.image), np.asarray(image))


@pytest.mark.parametrize(
    ("mode", "format_name", "held"),
    [
        ("L", "WEBP", "RGB"),
        ("LA", "WEBP", "RGBA"),
        ("I", "PNG", "I;16"),
        ("F", "TIFF", "F"),
        ("RGBA", "JPEG", None),
        ("LA", "JPEG", None),
        ("I;16", "JPEG", None),
        ("I;16", "WEBP", None),
        ("F", "PNG", None),
    ],
)
def test_a_format_never_drops_alpha_or_bits(mode: str, format_name: str, held: str | None) -> None:
    if held is not None:
        assert formats.check_mode(mode, format_name) == held
        return
    with pytest.raises(ImageError, match=f"{format_name} cannot hold .*: write (PNG|TIFF)"):
        formats.check_mode(mode, format_name)


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "WEBP", "BMP", "PPM"])
def test_lossless_formats_are_written_lossless(format_name: str) -> None:
    written = files.decode(formats.encode(Photo(_ramp()), format_name), "x").image
    np.testing.assert_array_equal(np.asarray(written), np.asarray(_ramp()))


def test_webp_keeps_the_colours_under_full_transparency() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 4), np.uint8)
    pixels[..., 3] &= 1
    written = formats.encode(Photo(Image.fromarray(pixels)), "WEBP")
    np.testing.assert_array_equal(np.asarray(files.decode(written, "x").image), pixels)


def test_gray_of_twelve_bits_reaches_white(tmp_path: Path) -> None:
    path = tmp_path / "in.tif"
    path.write_bytes(tiff(4, 1, [12], 1, [bytes.fromhex("000001800fff")]))
    photo = files.read(path)
    assert photo.result_mode == "I;16"
    assert np.asarray(photo.image).tolist() == [[0, 16, 32776, 65535]]
    assert strips.probe(path) is None


def test_a_format_follows_from_the_suffix() -> None:
    assert formats.format_of("a/b.JPG") == "JPEG"
    for name in ("picture.eps", "picture.pdf", "picture", "picture.txt"):
        with pytest.raises(ImageError, match="unknown image suffix"):
            formats.format_of(name)


def test_a_file_is_written_with_the_umask_and_nothing_beside_it(tmp_path: Path) -> None:
    old = os.umask(0o027)
    try:
        formats.write(Photo(_ramp()), tmp_path / "out.png")
    finally:
        os.umask(old)
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
    assert (tmp_path / "out.png").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_full_disk_or_ctrl_c_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"old")

    def fail(descriptor: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)):
        atomic.write(target, b"new")
    assert target.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]


def test_a_place_that_cannot_be_written_to_is_named_as_the_user_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for write in (atomic.write, lambda path, _: atomic.check_place(path)):
        with pytest.raises((FileNotFoundError, FileError)) as caught:
            write("gone/out.png", b"data")
        assert "'gone/out.png'" in str(caught.value)
        assert ".tmp" not in str(caught.value)
    with pytest.raises(FileError, match=r"cannot write '.*': it is a folder"):
        atomic.check_place(tmp_path)
    atomic.check_place("out.png")
    atomic.check_place("/dev/null")
    atomic.check_folder("new/and/deep")
    monkeypatch.setattr(os, "access", lambda *_: False)  # as for a user who is not root
    Path("link").symlink_to(tmp_path)
    with pytest.raises(FileError, match=r"cannot write 'link/out.png': the folder 'link' is not"):
        atomic.check_place("link/out.png")
    with pytest.raises(FileError, match="cannot write into 'new/and/deep': the folder is not"):
        atomic.check_folder("new/and/deep")


def test_links_are_followed_and_devices_are_not_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "target.png", tmp_path / "link.png"
    link.symlink_to(target)
    atomic.write(link, b"data")
    assert link.is_symlink()
    assert target.read_bytes() == b"data"
    atomic.write("/dev/null", b"data")
    assert not Path("/dev/null").is_file()
