"""What is said of files: by their right name, with the file's name, each thing once."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime import ImageError
from runtime.images.codecs import files
from tests.support.odd_files import tiff


def _bmp_565() -> tuple[bytes, np.ndarray]:
    """A BMP of 16 bits a pixel, and its colours."""
    values = np.arange(24, dtype="<u2").reshape(4, 6) * 2731
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    header = struct.pack("<IiiHHIIiiII", 40, 6, -4, 1, 16, 3, values.nbytes, 0, 0, 0, 0)
    start = 14 + len(header) + len(masks)
    head = b"BM" + struct.pack("<IHHI", start + values.nbytes, 0, 0, start)
    wide = values.astype(np.uint32)
    channels = [(wide >> 11) * 255 // 31, (wide >> 5 & 63) * 255 // 63, (wide & 31) * 255 // 31]
    return head + header + masks + values.tobytes(), np.stack(channels, axis=-1)


def test_a_bmp_of_sixteen_bits_a_pixel_is_read() -> None:
    data, colours = _bmp_565()
    read = np.asarray(files.decode(data, "x").image).astype(int)
    assert np.abs(read - colours).max() <= 1


@pytest.mark.parametrize(
    ("start", "told"),
    [
        (b"\0\0\0\x18ftypmp42\0\0\0\0", "an MP4 video: .*docs/video.md"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0", "a MOV video: .*docs/video.md"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81", "a Matroska or WebM video: .*docs/video.md"),
        (b"RIFF\0\0\1\0AVI LIST", "an AVI video: .*docs/video.md"),
        (b"YUV4MPEG2 W64 H48 F25:1\n", "a Y4M video: .*docs/video.md"),
        (b"PF\n4 4\n-1.0\n" + bytes(192), "a PFM, whose floats have no white: .*magick"),
        (b"plain text\n", "not an image this program reads"),
    ],
)
def test_what_is_no_image_here_is_called_what_it_is(start: bytes, told: str) -> None:
    with pytest.raises(ImageError, match=f"^x is {told}"):
        files.decode(start + bytes(100), "x")


@pytest.mark.parametrize(
    "start", [b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0\x08\0\0\0", b"\xff\xd8\xff"]
)
def test_a_spoilt_image_is_damaged_and_not_unknown(start: bytes) -> None:
    with pytest.raises(ImageError, match=r"^x is damaged: "):
        files.decode(start + b"\x01" * 100, "x")


@pytest.mark.parametrize("depth", [2, 64])
def test_a_kind_that_is_not_read_is_not_called_damaged(depth: int) -> None:
    header = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, depth, 0, 64, 0, 0, 0, 0)
    with pytest.raises(ImageError, match=r"^x is of a kind that is not read \(Unsupported BMP"):
        files.decode(b"BM" + struct.pack("<IHHI", 118, 0, 0, 54) + header + bytes(64), "x")


def test_a_gray_pfm_beyond_white_is_told_as_a_file() -> None:
    values = np.linspace(0, 9, 16, dtype="<f4").tobytes()
    with pytest.raises(ImageError, match=r"^x has float samples from 0 to 9, .*magick"):
        files.decode(b"Pf\n4 4\n-1.0\n" + values, "x")


def _odd_exif() -> bytes:
    """A JPEG whose EXIF Pillow warns of."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 10, 30)).save(
        buffer, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x0f\x01\x02\0\xff\0\0\0\xf0\xff\0\0"
    )
    return buffer.getvalue()


def _odd_tiff() -> bytes:
    """A TIFF that libtiff complains of on standard error: its last strips are missing."""
    buffer = io.BytesIO()
    Image.new("RGB", (80, 64), (200, 10, 30)).save(buffer, "TIFF", compression="tiff_lzw")
    data = bytearray(buffer.getvalue())
    first = struct.unpack_from("<I", data, 4)[0]
    for at in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", data, first)[0], 12):
        if struct.unpack_from("<H", data, at)[0] == 257:
            data[at + 8 : at + 12] = struct.pack("<I", 200)
    return bytes(data)


PROGRAM = """
import logging, sys
from runtime.errors import HcflowError
from runtime.images.codecs import files, notices
logging.basicConfig(format="%(levelname)s %(message)s")
notices.capture()
for path in sys.argv[1:]:
    try:
        files.read(path, salvage="salvage" in path)
    except HcflowError as error:
        print("error", error, file=sys.stderr)
"""


def test_every_line_names_its_file_and_comes_once(tmp_path: Path) -> None:
    names = ("one.jpg", "two.jpg", "three.tif", "four-salvage.tif")
    for name in names:
        (tmp_path / name).write_bytes(_odd_exif() if name.endswith("jpg") else _odd_tiff())
    paths = [str(tmp_path / name) for name in names]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *paths], capture_output=True, text=True, check=True
    )
    lines = done.stderr.splitlines()
    assert {next((n for n in names if n in line), line) for line in lines} == set(names)
    assert len(set(lines)) == len(lines)
    assert sum("three.tif" in line for line in lines) == 1
    (told,) = (line for line in lines if "three.tif" in line)
    assert "TIFFFillStrip" in told
    assert "rows are there" in told


@contextlib.contextmanager
def _closed_stderr() -> Iterator[None]:
    kept = os.dup(2)
    os.close(2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def test_without_a_program_warnings_are_left_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.warns(UserWarning, match="EXIF"):
        files.decode(_odd_exif(), "'x'")


def test_a_plain_tiff_is_read_where_standard_error_is_closed() -> None:
    with _closed_stderr():
        assert files.decode(tiff(4, 4, [8], 1, [bytes(16)]), "x").size == (4, 4)
