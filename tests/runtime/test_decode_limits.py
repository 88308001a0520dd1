"""Files of few pixels that take a decoder long, and inputs without an end, are refused unread."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from runtime import ImageError
from runtime.convert import naming
from runtime.convert.job import Job
from runtime.images.codecs import files
from runtime.images.codecs.bounds import gif, jpeg, structure, tiff, whole_file
from runtime.images.codecs.strips import probe
from runtime.images.frames import tiff_pages
from tests.support.noise import noise


def _saved(format_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(noise(32, 24)).save(buffer, format_name, **options)
    return buffer.getvalue()


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(extra: bytes, count: int, *, before: bytes) -> bytes:
    plain = _saved("PNG")
    at = plain.index(before) - 4
    return plain[:at] + extra * count + plain[at:]


def _jpeg_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    plain = _saved("JPEG", progressive=True)
    at = plain.rindex(b"\xff\xda")
    return plain[:at] + plain[at:-2] * count + b"\xff\xd9"


def _jpeg(inserted: bytes) -> bytes:
    plain = _saved("JPEG")
    return plain[:2] + inserted + plain[2:]


def _tiff_pages(
    count: int, tags: int = 1, number: int = 1, *, start: bytes = b"II*\0", at: int = 8
) -> bytes:
    """Directories one behind the other from `at` on; each tag states `number` bytes."""
    order = "<" if start[:1] == b"I" else ">"
    page = struct.pack(f"{order}H", tags) + struct.pack(f"{order}HHII", 256, 1, number, 1) * tags
    size = len(page) + 4
    places = [at + (i + 1) * size for i in range(count - 1)] + [0]
    head = (start + struct.pack(f"{order}I", at)).ljust(at, b"\0")
    return head + b"".join(page + struct.pack(f"{order}I", place) for place in places)


def _tiff_overlapping(count: int) -> bytes:
    """Directories of 65,535 tags at every fourth byte of one region, their links behind it."""
    ones = b"\xff" * (2 + 0xFFFF * 12)
    links = (struct.pack("<I", 8 + (i + 1) * 4 if i < count - 1 else 0) for i in range(count))
    return b"II*\0\x08\0\0\0" + ones + b"".join(links)


def _tiff_wide(tags: int) -> bytes:
    """A BigTIFF of one directory."""
    entry = struct.pack("<HHQQ", 256, 1, 1, 1)
    return b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, tags) + entry * tags + bytes(8)


def _gif(inserted: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (4, 4)).save(buffer, "GIF")
    plain = buffer.getvalue()
    return plain[:-1] + inserted + b";"


def _sides(width: int, height: int) -> bytes:
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    rows = zlib.compress(bytes(2) * max(width, height))
    return b"\x89PNG\r\n\x1a\n" + head + _chunk(b"IDAT", rows) + _chunk(b"IEND")


HOSTILE = {
    "chunks before the pixels": lambda: _png(_chunk(b"teSt"), 300, before=b"IDAT"),
    "chunks behind the pixels": lambda: _png(_chunk(b"teSt"), 300, before=b"IEND"),
    "empty chunks of pixels": lambda: _png(_chunk(b"IDAT"), 300, before=b"IDAT"),
    "scans": lambda: _jpeg_scans(jpeg.MOST_SCANS + 1),
    "segments": lambda: _jpeg(b"\xff\xfe\0\2" * jpeg.MOST_SEGMENTS),
    "padding": lambda: _jpeg(b"\xff" * jpeg.MOST_JUNK),
    "junk": lambda: _jpeg(bytes(jpeg.MOST_JUNK)),
    "junk in pieces": lambda: _jpeg((bytes(100) + b"\xff\xfe\0\2") * (jpeg.MOST_JUNK // 100 + 1)),
    "pages": lambda: _tiff_pages(tiff.MOST_PAGES + 1),
    "pages under a wrong order": lambda: _tiff_pages(tiff.MOST_PAGES + 1, start=b"MM*\0"),
    "pages under the other order": lambda: _tiff_pages(tiff.MOST_PAGES + 1, start=b"II\0*"),
    "pages that only Pillow sees": lambda: _tiff_pages(
        tiff.MOST_PAGES + 1, start=b"MM\0+", at=8 << 16
    ),
    "tags": lambda: _tiff_pages(10, 30_000),
    "tags of a page": lambda: _tiff_wide(tiff.MOST_IN_PAGE + 1),
    "tags in one another": lambda: _tiff_overlapping(10),
    "tags that share their bytes": lambda: _tiff_pages(400, 1, 1 << 20),
    "blocks": lambda: _gif(b"!\xfe\0" * gif.MOST_BLOCKS),
    "small sub-blocks": lambda: _gif(b"!\xfe" + b"\1x" * (gif.MOST_SMALL + 1) + b"\0"),
    "a comment": lambda: b"P6\n#" + b"x" * structure.MOST_HEADER + b"\n1 1\n255\nabc",
    "a comment behind the size": lambda: (
        b"P6 1 1\n#" + b"x" * structure.MOST_HEADER + b"\n255\nabc"
    ),
    "blanks": lambda: b"P6" + b" " * structure.MOST_HEADER + b"1 1\n255\nabc",
    "a line": lambda: _sides(1, structure.MOST_SIDE + 1),
    "a row": lambda: _sides(structure.MOST_SIDE + 1, 1),
}


@dataclass(frozen=True)
class _Models:
    """Stands for all models: the scale of each is 4."""

    options: Mapping[str, Any] = field(default_factory=dict)
    scale: int = 4

    def open(self, name: str | None) -> Any:
        return self

    def find(self, checkpoint: str) -> None:
        return None


@pytest.fixture(autouse=True)
def _few_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "MOST_CHUNKS", 200)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_file_of_too_many_parts_is_refused_before_it_is_decoded(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = HOSTILE[kind]()
    path = tmp_path / "image"
    path.write_bytes(data)
    opened = []
    is_by_size = kind in ("a line", "a row")  # which the header alone tells
    if not is_by_size:
        monkeypatch.setattr(Image, "open", lambda *args, **more: opened.append(args))
    for read in (lambda: files.read(path), lambda: files.decode(data, "it")):
        with pytest.raises(ImageError, match="the limit") as caught:
            read()
        assert str(caught.value).isprintable()
    assert probe(path) is None
    assert not naming.has_several(str(path))
    job = Job("upscale", _Models())
    assert naming.beside(str(path), job, "PNG", None) == f"{path}_x4.png"
    if data[:2] in (b"II", b"MM"):
        with pytest.raises(ImageError, match="the limit"):
            tiff_pages.pages(io.BytesIO(data), "it")
    assert opened == []


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF", "GIF", "PPM", "BMP", "WEBP"])
def test_usual_files_are_far_from_the_limits(name: str) -> None:
    assert files.decode(_saved(name), "it").size == (24, 32)


def test_usual_ways_to_write_a_jpeg_are_read() -> None:
    for options in ({"progressive": True}, {"icc_profile": b"x" * 300_000}, {"comment": b"y" * 9}):
        assert files.decode(_saved("JPEG", **options), "it").size == (24, 32)
    assert files.decode(_saved("JPEG") + _saved("JPEG") * 200, "it").size == (24, 32)


class _Endless(io.RawIOBase):
    """A pipe that never ends; counts what is read of it."""

    def __init__(self, start: bytes, filler: bytes = b"\0") -> None:
        self.given, self._start, self._filler = 0, start, filler

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        assert size > 0
        block = self._start[self.given : self.given + size]
        self.given += size
        return block + self._filler * (size - len(block))


@pytest.mark.parametrize("start", [b"", b"x", b"\0\0\2", b"RIFF", b"ftyp"])
def test_an_endless_input_without_a_header_is_left_after_a_few_megabytes(start: bytes) -> None:
    pipe = _Endless(start)
    with pytest.raises(ImageError, match=r"is not an image: its first 4194304 bytes, the limit"):
        files.read_open(pipe, "standard input")  # type: ignore[arg-type]
    assert pipe.given <= whole_file.MOST_BEFORE_HEADER + (1 << 20)


@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP", "JPEG", "GIF"])
def test_an_endless_image_is_left_at_the_limit_of_its_pixels(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_file, "MOST_BESIDE_PIXELS", 6 << 20)
    pipe = _Endless(_saved(name))
    with pytest.raises(ImageError, match="the limit"):
        files.read_open(pipe, "standard input", 1000)  # type: ignore[arg-type]
    assert pipe.given <= whole_file.most_bytes(1000) + (2 << 20)


def test_a_file_larger_than_its_pixels_allow_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.png"
    path.write_bytes(_saved("PNG"))
    with path.open("r+b") as file:
        file.truncate(40 << 30)
    with pytest.raises(ImageError, match=r"has more than \d+ bytes, the limit"):
        files.read(path, 1000)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without pipes")
def test_pipes_and_devices_are_read_up_to_the_limit(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(_saved("PNG")))
    writer.start()
    assert files.read(pipe).size == (24, 32)
    writer.join()
    with pytest.raises(ImageError, match="is not an image: its first"):
        files.read("/dev/zero")


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="a system without it")
def test_the_command_ends_in_one_line() -> None:
    with open("/dev/zero", "rb") as zeros:
        done = subprocess.run(
            [sys.executable, "-m", "hcflow", "upscale", "-", "-o", "-"],
            stdin=zeros, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "4194304 bytes, the limit" in done.stderr
