"""A JPEG with further pictures behind its first ("MPO") is read as any other JPEG."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime import ImageError
from runtime.images.codecs import files, strips, vips

SIDES = (80, 64)

needs_vips = pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")


def _picture() -> Image.Image:
    blocks = np.random.default_rng(0).integers(16, 256, (8, 10, 3), np.uint8)
    return Image.fromarray(np.kron(blocks, np.ones((8, 8, 1), np.uint8)))


def _mpo(number: int = 2, **options: object) -> bytes:
    """A file of one picture and smaller ones behind it."""
    buffer = io.BytesIO()
    smaller = [_picture().resize((40, 32))] * (number - 1)
    _picture().save(buffer, "MPO", save_all=True, append_images=smaller, quality=90, **options)
    return buffer.getvalue()


def _end_of_first(data: bytes) -> int:
    return data.index(b"\xff\xd9\xff\xd8")


def test_such_files_are_what_pillow_calls_mpo() -> None:
    assert Image.open(io.BytesIO(_mpo())).format == "MPO"


def test_the_first_is_used_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert files.decode(_mpo(3), "'x'").size == SIDES
    (told,) = caplog.messages
    assert told.startswith("'x': it holds 3 pictures")


def test_an_index_of_one_picture_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    files.decode(_mpo(1), "'x'")
    assert not caplog.messages


def test_its_chroma_and_density_are_kept() -> None:
    photo = files.decode(_mpo(subsampling=2, dpi=(300, 300)), "x")
    assert photo.lossy.halves_chroma
    assert photo.density == (300, 300)


@pytest.mark.parametrize("ends", [True, False])
def test_rows_that_the_first_lacks_are_found_and_salvaged(ends: bool) -> None:
    data = _mpo()
    end = _end_of_first(data) * 2 // 3
    cut = data[:end] + (b"\xff\xd9" + data[_end_of_first(data) + 2 :] if ends else b"")
    with pytest.raises(ImageError, match=r"is damaged: \d+ of 64 rows are there"):
        files.decode(cut, "'x'")
    assert files.decode(cut, "'x'", salvage=True).size == SIDES


def test_a_file_that_ends_behind_the_first_is_whole() -> None:
    data = _mpo()
    assert files.decode(data[: _end_of_first(data) + 2], "x").size == SIDES


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("tag", [0xB001, 0xB002])
def test_a_damaged_index_does_not_matter(tag: int) -> None:
    data = bytearray(_mpo())
    at = data.index(tag.to_bytes(2, "little"), data.index(b"MPF\0"))
    data[at : at + 2] = b"\x05\xb0"
    assert files.decode(bytes(data), "x").size == SIDES


@needs_vips
def test_strips_read_it_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "in.jpg"
    path.write_bytes(_mpo(subsampling=2, dpi=(300, 300)))
    assert strips.probe(path) == ("JPEG", *SIDES)
    form = strips.Rows(path, "JPEG").form
    assert (form.width, form.height, form.density) == (*SIDES, (300, 300))
    assert form.lossy.halves_chroma
    assert "in.jpg': it holds 2 pictures" in caplog.text
