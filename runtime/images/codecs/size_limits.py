"""How large an image may be: Pillow's limits for reading are lifted, formats limit writing."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

from runtime.errors import ImageError

# The largest sides that both writers take. For AVIF it is the limit of libheif and of AV1's highest
# level; Pillow writes larger ones, but cannot read them back.
_SIDES = {"JPEG": 65_500, "GIF": 65_535, "WEBP": 16_383, "AVIF": 16_384}

MOST_PROFILE = 1 << 24
"""Bytes of a colour profile that are unpacked from a PNG; Pillow's own limit is 1 MiB."""

_lock = threading.Lock()
# Pillow's limits, of pixels and of a PNG's packed texts, as each `any_size` that is open found them
_found: list[tuple[int | None, int]] = []


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Let Pillow open images of any size without a warning; the caller keeps a limit of its own.

    A PNG's profile may have `MOST_PROFILE` bytes. Pillow's limits hold for the whole process: the
    first to enter lifts them, and the last to leave restores them, whatever their threads.
    """
    with _lock:
        _found.append((Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK))
        Image.MAX_IMAGE_PIXELS = None
        PngImagePlugin.MAX_TEXT_CHUNK = max(PngImagePlugin.MAX_TEXT_CHUNK, MOST_PROFILE)
    try:
        yield
    finally:
        with _lock:
            found = _found.pop()
            if not _found:
                Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = found


def check_sides(format_name: str, width: int, height: int) -> None:
    """Check, before any work, that a format can hold a result of this size.

    Raises:
        ImageError: it cannot.
    """
    largest = _SIDES.get(format_name)
    if largest is not None and max(width, height) > largest:
        raise ImageError(
            f"{format_name} holds {largest} pixels a side, the result would have "
            f"{width}×{height}: write PNG or TIFF"
        )
