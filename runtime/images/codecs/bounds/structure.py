"""How many parts a file may have: chunks, scans, pages, blocks; counted before it is decoded.

A decoder's time grows with them, sometimes with their square, whatever the number of pixels. Every
count stops at its limit, so that counting costs little whatever the file.
"""

from __future__ import annotations

import re
from typing import IO

from runtime.errors import ImageError, SizeError
from runtime.images.codecs.bounds import gif, jpeg, tiff

MOST_CHUNKS = 100_000
"""Chunks of a PNG: libpng's own of 8 KiB hold the largest image that is read by default."""

MOST_PROFILES = 10
"""Colour profiles of a PNG, each of which is unpacked; one is allowed."""

MOST_HEADER = 1 << 16
"""Bytes of a PPM's header, comments included."""

MOST_PLAIN = 1 << 26
"""Bytes of a PPM that writes its numbers as text, which are read one by one."""

MOST_RUNS = 1 << 25
"""Bytes of a BMP packed in runs, which are unpacked one by one."""

MOST_SIDE = 1 << 20
"""Pixels of a side: an image of one row takes more time than its pixels would in a square."""

_PPM = re.compile(rb"P[1-6fFy]\s")
_BLANK = rb"(?:\s|#[^\n\r]*[\n\r])+"
_NUMBER = rb"(?:" + _BLANK + rb"[^\s#]+)"
_PPM_HEADER = re.compile(rb"P(?:[14]" + _NUMBER + rb"{2}|[2356fFy]" + _NUMBER + rb"{3})\s")


def check(file: IO[bytes], where: str) -> None:
    """Refuse a file of more parts than any image needs; it is read from its start.

    Args:
        file: can be sought; stands at its start afterwards.
        where: names it in errors.

    Raises:
        ImageError: the file has too many parts; the message names the limit.
    """
    file.seek(0)
    start = file.read(34)
    if start.startswith(b"\x89PNG\r\n\x1a\n"):
        fault = _png(file)
    elif start.startswith(b"\xff\xd8"):
        fault = jpeg.fault(file)
    elif start[:4] in tiff.MAGIC:
        fault = tiff.fault(file)
    elif start.startswith(b"GIF8"):
        fault = gif.fault(file)
    elif _PPM.match(start):
        fault = _ppm(file)
    elif start.startswith(b"BM") and start[30:34] in (b"\1\0\0\0", b"\2\0\0\0"):
        fault = f"{MOST_RUNS} bytes in runs" if _size(file) > MOST_RUNS else None
    else:
        fault = None
    file.seek(0)
    if fault is not None:
        raise ImageError(f"{where} has more than {fault}, the limit: save it anew to read it")


def check_sides(width: int, height: int, where: str) -> None:
    """Refuse an image with a side of more than `MOST_SIDE` pixels; raises `ImageError`."""
    if max(width, height) > MOST_SIDE:
        raise SizeError(
            f"{where} has {width}×{height} pixels, the limit of a side is {MOST_SIDE}: cut it first"
        )


def _png(file: IO[bytes]) -> str | None:
    file.seek(8)
    profiles = 0
    for _ in range(MOST_CHUNKS):
        head = file.read(8)
        if len(head) < 8 or head[4:] == b"IEND":
            return None
        profiles += head[4:] == b"iCCP"
        if profiles > MOST_PROFILES:
            return f"{MOST_PROFILES} colour profiles"
        file.seek(int.from_bytes(head[:4], "big") + 4, 1)
    return f"{MOST_CHUNKS} chunks"


def _ppm(file: IO[bytes]) -> str | None:
    file.seek(0)
    start = file.read(MOST_HEADER)
    if _size(file) > MOST_HEADER and _PPM_HEADER.match(start) is None:
        return f"{MOST_HEADER} bytes of header"
    if start[1:2] in (b"1", b"2", b"3") and _size(file) > MOST_PLAIN:
        return f"{MOST_PLAIN} bytes of numbers as text"
    return None


def _size(file: IO[bytes]) -> int:
    return file.seek(0, 2)
