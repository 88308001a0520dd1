"""Whether a decoder filled every row of an image; where it did not, how many are there.

Pillow leaves rows that a file does not have black, and a JPEG's decoder makes them gray, both
without a word. An image of which rows are missing is an error, unless it is to be salvaged.
"""

from __future__ import annotations

import io
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from runtime.errors import ImageError
from runtime.images.codecs import notices, opening
from runtime.images.codecs.completeness import avif_size, jpeg_scan

SALVAGE = "--salvage (salvage=True) reads it all the same"

_MOST_TO_ONE = 1032  # deflate makes no byte into more (RFC 1951: 258 bytes of two bits)
_BITS = {"1": 1, "L": 1, "P": 1, "I;16": 16, "LA": 16, "RGB": 24, "RGBA": 32}  # at least, in a PNG
# Formats whose rows are written one by one: a row that is missing has not been touched.
_BY_ROWS = ("PNG", "TIFF", "BMP", "PPM", "TGA", "GIF")

_logger = logging.getLogger(__name__)


def check_header(image: Image.Image, start: bytes, size: int, where: str) -> None:
    """Refuse, before anything is decoded, a size that these bytes cannot hold.

    Args:
        image: as opened.
        start: the first bytes of the file; for an AVIF all of them.
        size: of the file in bytes.
        where: names it.

    Raises:
        ImageError: the header states more pixels than the file has.
    """
    width, height = image.size
    real = avif_size.coded_size(start) if image.format == "AVIF" else None
    if real is not None and (real[0] < width or real[1] < height):
        raise ImageError(
            f"{where} is damaged: its header states {width}×{height} pixels, its data hold "
            f"{real[0]}×{real[1]}"
        )
    least = 0
    if image.format == "JPEG":
        least = jpeg_scan.least_bytes(image, start)
    elif image.format == "PNG":
        least = width * height * _BITS.get(image.mode, 1) // 8 // _MOST_TO_ONE
    if size < least:
        raise ImageError(
            f"{where} is damaged: {size} bytes cannot hold the {width}×{height} pixels that its "
            f"header states; {SALVAGE}"
        )


def load(opened: ImageFile.ImageFile, data: bytes, where: str, *, salvage: bool) -> None:
    """Decode an image, as `Image.load` does, and see that all its rows are there.

    Args:
        opened: from `data`; its pixels are loaded.
        data: the file's bytes.
        where: names it.
        salvage: take what is there, with a warning; other rows are black, in a JPEG also gray.

    Raises:
        ImageError: rows are missing, and `salvage` is not given or no row is there.
    """
    height, reason = opened.height, ""
    is_part = opened.format == "GIF" and _covers_part(opened)
    try:
        with notices.from_library():
            opened.load()
        if is_part or not _may_lack_rows(opened):
            return
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged files raise all kinds
        if opened.format not in (*_BY_ROWS, "JPEG"):
            raise
        reason = notices.reason(error)
        opened.tile = []  # the rows so far are the image
    rows = _rows_there(opened, data)
    if reason or rows < height:
        report(where, rows, height, reason, salvage=salvage)


def report(where: str, rows: int, height: int, reason: str = "", *, salvage: bool) -> None:
    """Say that only `rows` of an image's rows are there: an error, or a warning where salvaged.

    Raises:
        ImageError: not `salvage`, or there is no row to salvage.
    """
    text = told(where, rows, height, reason, salvaged=salvage)
    if rows == 0 or not salvage:
        raise ImageError(text)
    _logger.warning("%s", text)


def told(where: str, rows: int, height: int, reason: str = "", *, salvaged: bool = False) -> str:
    """The words for an image of which `rows` of `height` rows are there."""
    if notices.is_unsupported(reason):
        return notices.failure(where, reason)
    if rows >= height and reason:  # all rows, and something is wrong with one of them
        text = f"{where} is damaged: {reason}"
    else:
        text = f"{where} is damaged: {rows} of {height} rows are there"
        text += f" ({reason})" if reason else ""
    if rows == 0:
        return text
    return f"{text}; {'the others are black or gray' if salvaged else SALVAGE}"


def _covers_part(gif: ImageFile.ImageFile) -> bool:
    """Whether a GIF's frame leaves some of the canvas empty by its own rectangle."""
    return any(tile.extents not in (None, (0, 0, *gif.size)) for tile in gif.tile)


def _may_lack_rows(image: Image.Image) -> bool:
    """Whether the image looks as if rows were missing: then it is worth a second decoding."""
    if image.format == "JPEG":
        last = np.asarray(image.crop((image.width - 1, image.height - 1, *image.size)))
        return jpeg_scan.may_be_filler(last)
    if image.format not in _BY_ROWS:
        return False
    # Interlaced rows come last at odd places; a BMP's and a TGA's may come upwards.
    at = {0, image.height - 1, max(image.height - 2, 0)}
    return any(image.crop((0, y, image.width, y + 1)).getbbox() is None for y in at)


def _rows_there(first: Image.Image, data: bytes) -> int:
    """The number of rows that the data fill: those that do not depend on what was there before.

    Args:
        first: decoded from the data onto black.
        data: the file's bytes.
    """
    if first.format == "JPEG" and (marked := jpeg_scan.with_noise(data)) is not None:
        other = _decoded(marked, "JPEG", 0)
        same = _same_rows(np.asarray(first), other)
        rows = int(np.argmin(same)) if not same.all() else len(same)
        filled = jpeg_scan.whole_rows(rows, first)
    else:
        filled = first.height
    same = _same_rows(np.asarray(first), _decoded(data, str(first.format), 255))
    return min(filled, int(np.count_nonzero(same)))


def _decoded(data: bytes, format_name: str, fill: int) -> NDArray[Any]:
    """What a file's rows make of an image that was filled with a value."""
    with opening.open_image(io.BytesIO(data), [format_name]) as image:
        bands = len(image.getbands())
        colour = fill if bands == 1 else (fill,) * bands
        image.im = Image.new(image.mode, image.size, colour).im
        try:
            with notices.about(None), notices.from_library():
                image.load()
        except MemoryError:
            raise
        except Exception:  # the first decoding has told it
            image.tile = []
        return np.asarray(image)


def _same_rows(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.bool_]:
    if first.shape != second.shape:  # a rotated TIFF that failed once: nothing is sure
        return np.zeros(len(first), np.bool_)
    same: NDArray[np.bool_] = (first == second).reshape(len(first), -1).all(axis=1)
    return same
