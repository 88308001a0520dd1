"""How large an image may be: read, where Pillow's limit gives way to ours, and written."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from PIL import Image

from runtime.errors import ImageError

# The largest sides that both writers take. libheif's and AV1's highest level end where AVIF does;
# Pillow writes larger ones, but reads no more than this squared.
_SIDES = {"JPEG": 65_500, "WEBP": 16_383, "AVIF": 16_384}

_lock = threading.Lock()
_found: list[int | None] = []  # Pillow's limit as each of those now within found it


@contextlib.contextmanager
def any_size() -> Iterator[None]:
    """Within, Pillow opens images of any size without a word; the caller holds a limit of its own.

    Pillow's limit is one for the whole process: the first to enter lifts it, the last to leave puts
    back what the first has found, in whatever threads they are.
    """
    with _lock:
        _found.append(Image.MAX_IMAGE_PIXELS)
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        with _lock:
            found = _found.pop()
            if not _found:
                Image.MAX_IMAGE_PIXELS = found


def check_sides(format_name: str, width: int, height: int) -> None:
    """Find out before any work whether a format holds a result of this size.

    Raises:
        ImageError: it does not.
    """
    largest = _SIDES.get(format_name)
    if largest is not None and max(width, height) > largest:
        raise ImageError(
            f"{format_name} holds {largest} pixels a side, the result would have "
            f"{width}×{height}: write PNG or TIFF"
        )
