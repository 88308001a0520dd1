"""How large an image may be: Pillow's limit gives way to ours while a file is opened."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from PIL import Image

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
