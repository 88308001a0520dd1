"""Files that lack rows: an error that says how many are there, unless they are to be salvaged."""

from __future__ import annotations

import contextlib
import io
import logging
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import runtime
from runtime import ImageError
from runtime.convert import file
from runtime.convert.job import Job
from runtime.images.codecs import files, vips
from runtime.images.codecs.strips import Rows
from tests.support.odd_files import png, tiff
from tests.support.one_model import OneModel

WIDTH, HEIGHT = 80, 64

needs_vips = pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")


def _pixels(bits: int = 8) -> np.ndarray:
    """Blocks of colour, no row of them black or gray."""
    blocks = np.random.default_rng(0).integers(1 << (bits - 4), 1 << bits, (8, 10, 3))
    return np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8 if bits == 8 else np.uint16)


def _file(format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_pixels()).save(buffer, format_name, **options)
    return buffer.getvalue()


def _png(rows: int, bits: int = 8) -> bytes:
    """A PNG of 64 rows whose data end, properly, at a row's end."""
    pixels = _pixels(bits)[:rows].astype(">u2" if bits == 16 else np.uint8)
    data = b"".join(b"\0" + row.tobytes() for row in pixels)
    return png(WIDTH, HEIGHT, bits, 2, data)


def _jpeg_of_height(height: int, **options: object) -> bytes:
    """A JPEG whose header states another height than its data have."""
    data = bytearray(_file("JPEG", quality=90, **options))
    at = data.find(b"\xff\xc2" if options.get("progressive") else b"\xff\xc0")
    data[at + 5 : at + 7] = struct.pack(">H", height)
    return bytes(data)


def _ended_early(**options: object) -> bytes:
    """A JPEG that was cut and ends properly all the same."""
    data = _file("JPEG", quality=90, **options)
    return data[: len(data) * 2 // 3] + b"\xff\xd9"


def _tiff_of_height(height: int, **options: object) -> bytes:
    data = bytearray(_file("TIFF", **options))
    first = struct.unpack_from("<I", data, 4)[0]
    for at in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", data, first)[0], 12):
        if struct.unpack_from("<H", data, at)[0] == 257:
            data[at + 8 : at + 12] = struct.pack("<I", height)
    return bytes(data)


def _bmp(missing: int) -> bytes:
    """A BMP, which begins with its last row, without its first rows."""
    return _file("BMP")[: -missing * WIDTH * 3]


INCOMPLETE: dict[str, tuple[Callable[[], bytes], int, int]] = {
    # rows that are there, at least and at most
    "PNG that ends at a row's end": (lambda: _png(40), 40, 40),
    "PNG cut in its data": (lambda: _file("PNG", compress_level=0)[:-3000], 40, 60),
    "JPEG cut in its data": (lambda: _ended_early()[:-2], 8, 56),
    "JPEG cut and ended": (_ended_early, 8, 56),
    "JPEG with halved chroma cut and ended": (lambda: _ended_early(subsampling=2), 16, 48),
    "JPEG with restarts cut and ended": (lambda: _ended_early(restart_marker_blocks=4), 8, 56),
    "JPEG of a patched height": (lambda: _jpeg_of_height(200), 64, 64),
    "JPEG with restarts of a patched height": (
        lambda: _jpeg_of_height(200, restart_marker_rows=1),
        64,
        64,
    ),
    "progressive JPEG of a patched height": (
        lambda: _jpeg_of_height(200, progressive=True),
        64,
        64,
    ),
    "TIFF cut in its data": (
        lambda: tiff(WIDTH, HEIGHT, [8] * 3, 2, [_pixels().tobytes()[: 40 * WIDTH * 3]]),
        40,
        40,
    ),
    "TIFF without its last strips": (lambda: _tiff_of_height(200), 64, 64),
    "compressed TIFF without its last strips": (
        lambda: _tiff_of_height(200, compression="tiff_adobe_deflate"),
        64,
        64,
    ),
    "BMP cut in its data": (lambda: _bmp(24), 40, 40),
    "GIF cut in its data": (lambda: _file("GIF")[:-150], 1, 63),
    "PPM cut in its data": (lambda: _file("PPM")[: -24 * WIDTH * 3], 40, 40),
    "TGA cut in its data": (lambda: _file("TGA")[: -26 - 24 * WIDTH * 3], 40, 40),
}


def _rows_told(text: str) -> int:
    return int(text.partition("is damaged: ")[2].split()[0])


@pytest.mark.parametrize("kind", INCOMPLETE)
def test_what_lacks_rows_is_an_error_that_counts_them(kind: str) -> None:
    make, least, most = INCOMPLETE[kind]
    with pytest.raises(ImageError, match=r"^'x' is damaged: \d+ of \d+ rows are there") as caught:
        files.decode(make(), "'x'")
    assert least <= _rows_told(str(caught.value)) <= most
    assert "--salvage (salvage=True)" in str(caught.value)


@pytest.mark.parametrize("kind", INCOMPLETE)
def test_salvage_reads_the_rows_that_are_there(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    make, _, _ = INCOMPLETE[kind]
    with caplog.at_level(logging.WARNING):
        photo = files.decode(make(), "'x'", salvage=True)
    (line,) = caplog.messages
    rows = _rows_told(line)
    read = np.asarray(photo.image.convert("RGB")).astype(int)  # type: ignore[union-attr]
    there = slice(HEIGHT - rows, HEIGHT) if kind[:3] in ("BMP", "TGA") else slice(0, rows)
    if "TIFF" in kind or "height" not in kind:
        assert photo.size[1] >= HEIGHT
    near = 40 if "JPEG" in kind or "GIF" in kind else 0  # of lossy formats
    assert np.abs(read[there] - _pixels()[there]).mean() <= near


@pytest.mark.parametrize("colour", [(0, 0, 0), (128, 128, 128), (255, 255, 255)])
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "TIFF", "BMP", "GIF", "PPM", "TGA", "WEBP"])
@pytest.mark.parametrize("size", [(1, 1), (80, 64), (33, 17)])
def test_black_and_gray_pictures_are_complete(
    colour: tuple[int, int, int], format_name: str, size: tuple[int, int]
) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, format_name)
    photo = files.decode(buffer.getvalue(), "x")
    assert np.abs(np.asarray(photo.image.convert("RGB")).astype(int) - colour).max() <= 1  # type: ignore[union-attr]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_gray_lower_half_is_complete(
    mode: str, options: dict[str, object], subsampling: int
) -> None:
    image = Image.fromarray(_pixels()).convert(mode)
    image.paste(Image.new(mode, (WIDTH, 20), 128 if mode == "L" else (128,) * len(mode)), (0, 44))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", subsampling=subsampling, **options)
    assert files.decode(buffer.getvalue(), "x").size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_whose_header_promises_far_too_much_is_refused_before_it_is_decoded(
    progressive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image.core, "new", _no_memory)
    with pytest.raises(ImageError, match=r"bytes cannot hold the 80×60000 pixels"):
        files.decode(_jpeg_of_height(60_000, progressive=progressive), "x")


def test_a_png_whose_header_promises_far_too_much_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Image.core, "new", _no_memory)
    with pytest.raises(ImageError, match=r"bytes cannot hold the 9000×9000 pixels"):
        files.decode(png(9000, 9000, 8, 2, b"\0" * 100), "x")


def test_an_avif_is_never_stretched_to_what_its_header_states() -> None:
    data = bytearray(_file("AVIF"))
    at = data.find(b"ispe") + 8
    data[at : at + 8] = struct.pack(">II", 640, 320)
    with pytest.raises(ImageError, match="states 640×320 pixels, its data hold 80×64"):
        files.decode(bytes(data), "x")


@pytest.mark.parametrize("format_name", ["WEBP", "AVIF", "JPEG2000"])
def test_a_cut_file_of_one_piece_is_an_error_with_salvage_too(format_name: str) -> None:
    data = _file(format_name)
    for salvage in (False, True):
        with pytest.raises(ImageError, match=r"^x is damaged: "):
            files.decode(data[: len(data) * 2 // 3], "x", salvage=salvage)


def test_what_has_no_row_cannot_be_salvaged() -> None:
    with pytest.raises(ImageError, match=r"^x is damaged: 0 of 64 rows are there"):
        files.decode(_png(0), "x", salvage=True)


@needs_vips
@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_sixteen_bits_are_counted_and_salvaged_too(
    format_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    pixels = _pixels(16)
    strips = [pixels.tobytes()[: 40 * WIDTH * 6]]
    data = _png(40, 16) if format_name == "PNG" else tiff(WIDTH, HEIGHT, [16] * 3, 2, strips)
    with pytest.raises(ImageError, match=r"^x is damaged: \d+ of 64 rows are there") as caught:
        files.decode(data, "x")
    assert _rows_told(str(caught.value)) <= 40
    with caplog.at_level(logging.WARNING):
        photo = files.decode(data, "x", salvage=True)
    (line,) = caplog.messages
    rows = _rows_told(line)
    np.testing.assert_array_equal(np.asarray(photo.image)[:rows], pixels[:rows])


STREAMED = [kind for kind in INCOMPLETE if kind.split()[0] not in ("BMP", "GIF", "PPM", "TGA")]


@needs_vips
@pytest.mark.parametrize("kind", STREAMED)
def test_strips_find_the_missing_rows_too(kind: str, tmp_path: Path) -> None:
    make, _, most = INCOMPLETE[kind]
    path = tmp_path / "in"
    path.write_bytes(make())
    format_name = next(name for name in ("PNG", "JPEG", "TIFF") if name in kind)
    with pytest.raises(ImageError, match=r"in' is damaged: \d+ of \d+ rows are there") as caught:
        _read_through(path, format_name)
    assert _rows_told(str(caught.value)) <= most
    assert "\n" not in str(caught.value)


@needs_vips
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_strips_find_them_in_a_turned_photograph(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / "in.jpg"
    path.write_bytes(_jpeg_of_height(200, exif=exif))
    with pytest.raises(ImageError, match="64 of 200 rows are there"):
        _read_through(path, "JPEG")


@pytest.mark.parametrize("strips", [False, pytest.param(True, marks=needs_vips)])
def test_a_conversion_is_refused_without_salvage_and_done_with_it(
    tiny_model: runtime.Model, strips: bool, tmp_path: Path
) -> None:
    source, output = tmp_path / "in.png", tmp_path / "out.png"
    source.write_bytes(_png(40))
    for salvage in (False, True):
        job = Job("upscale", OneModel(tiny_model), strips=strips, salvage=salvage)
        with contextlib.nullcontext() if salvage else pytest.raises(ImageError, match="40 of 64"):
            file.convert_file(str(source), str(output), "PNG", job, contextlib.nullcontext())
        assert output.exists() == salvage
    assert Image.open(output).size == (WIDTH * tiny_model.scale, HEIGHT * tiny_model.scale)


def _read_through(path: Path, format_name: str) -> None:
    rows = Rows(path, format_name)
    for top in range(0, rows.form.height, 8):
        rows.read(top, min(top + 8, rows.form.height))


def _no_memory(*_: object) -> object:
    raise AssertionError("memory was taken")
