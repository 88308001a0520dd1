"""Where the temporary folder is missing or full, no image is called damaged."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from PIL import Image

from runtime.convert.folders import worker
from runtime.errors import TemporaryFolderError
from runtime.images.codecs import files, notices, vips
from tests.support.noise import noise
from tests.support.odd_files import png

needs_vips = pytest.mark.skipif(vips.find() is None, reason="pyvips is not installed")

_READS = """
import os, sys
from runtime.errors import TemporaryFolderError
from runtime.images.codecs import files
from runtime.images.codecs.strips import Rows
turned, deep = sys.argv[1:]
for read in (lambda: Rows(turned, "JPEG").read(0, 8), lambda: files.read(deep)):
    try:
        read()
    except TemporaryFolderError as error:
        print(error)
"""


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "JPEG"])
def test_images_are_read_without_a_temporary_folder(
    format_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capturing = threading.Event()
    capturing.set()
    monkeypatch.setattr(notices, "_capturing", capturing)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    buffer = io.BytesIO()
    Image.fromarray(noise(8, 8)).save(buffer, format_name)
    assert files.decode(buffer.getvalue(), "it").size == (8, 8)


@needs_vips
def test_what_libvips_cannot_put_there_is_a_fault_of_the_folder(tmp_path: Path) -> None:
    turned, deep, missing = tmp_path / "turned.jpg", tmp_path / "deep.png", tmp_path / "missing"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(noise(64, 48)).save(turned, exif=exif)
    deep.write_bytes(png(48, 64, 16, 2, (bytes(1) + bytes(range(1, 97)) * 3) * 64))
    # So that the smallest image goes into a file, as one of 100 MB does.
    env = {**os.environ, "TMPDIR": str(missing), "VIPS_DISC_THRESHOLD": "0"}
    words = [sys.executable, "-c", _READS, turned, deep]
    told = subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout
    line = f"cannot write into the temporary folder '{missing}': No such file or directory: "
    assert [each.startswith(line) for each in told.splitlines()] == [True, True]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("wbuffer_write: write failed system error: No space left on device", "No space left"),
        (
            'VipsImage: unable to write to "/t/vips-0-1.v" system error: Permission denied',
            "Permission denied",
        ),
    ],
)
def test_the_reason_is_told(text: str, reason: str) -> None:
    with pytest.raises(TemporaryFolderError, match=f"^cannot write into .*': {reason}"):
        vips.check_temporary(OSError(text))
    vips.check_temporary(OSError("VipsJpeg: premature end of JPEG image"))


def test_a_folder_run_stops_there() -> None:
    assert worker._stops(TemporaryFolderError("full"))
