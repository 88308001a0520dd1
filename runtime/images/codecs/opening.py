"""Files opened by Pillow, of which only the header is read; a JPEG is its first picture.

Cameras put previews, a second eye or a gain map behind it and list them in an index (CIPA DC-007,
"MPO"). Pillow makes a format of its own of such files, and may fail where the index is damaged.
"""

from __future__ import annotations

import contextlib
import io
from typing import IO

from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from runtime.images.codecs import notices

_JPEG = b"\xff\xd8\xff"
_NUMBER_OF_PICTURES = 0xB001


def open_image(file: IO[bytes], formats: list[str] | tuple[str, ...]) -> ImageFile.ImageFile:
    """As `Image.open`, from the start of a file; its errors are the same.

    Args:
        file: can be sought.
        formats: names of those to try; of loaded plugins.
    """
    file.seek(0)
    is_jpeg = "JPEG" in formats and file.read(len(_JPEG)) == _JPEG
    file.seek(0)
    if not is_jpeg:
        return Image.open(file, formats=formats)
    try:
        return JpegImagePlugin.JpegImageFile(file)
    except SyntaxError as error:
        raise UnidentifiedImageError("a JPEG whose header cannot be read") from error


def tell_of_pictures(opened: Image.Image) -> None:
    """Warn of the pictures behind the first of a JPEG: they are not used."""
    number = _pictures(opened.info.get("mp"))
    if number > 1:
        notices.add(f"it holds {number} pictures (of several views or sizes): the first is used")


def _pictures(index: bytes | None) -> int:
    if index is None:
        return 1
    with contextlib.suppress(Exception):  # a damaged directory fails in all kinds of ways
        file = io.BytesIO(index)
        directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(directory.next)
        with notices.about(None):
            directory.load(file)
        return int(directory.get(_NUMBER_OF_PICTURES, 1))
    return 1
