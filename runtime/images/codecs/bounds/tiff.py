"""The pages and tags of a TIFF, counted: listing pages takes time that grows with their square."""

from __future__ import annotations

import struct
from typing import IO

import numpy as np

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"MM*\0", b"II\0*")
"""First bytes of what is read as a TIFF; the last two have a wrong order, which Pillow forgives."""

_READ_AS_CLASSIC = b"MM\0+"  # by Pillow, though it is a BigTIFF

MOST_PAGES = 4000
"""Pages (image file directories)."""

MOST_TAGS = 200_000
"""Tags of all pages together."""

MOST_IN_PAGE = 0xFFFF
"""Tags of a page: what a classic TIFF can count, and what libtiff takes of a BigTIFF."""

MOST_SHARED = 1 << 28
"""Bytes that all tags together may state beyond the file's own size: pages may share a profile."""

# Bytes of a value of each type, by its number; the last is of all others.
_BYTES = np.array([1, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 1, 1, 8, 8, 8, 1])


def fault(file: IO[bytes]) -> str | None:
    """What it has too many of; None where nothing."""
    file.seek(0)
    head = file.read(16)
    found = _fault(file, head, is_big=b"+" in head[2:4])
    if found is None and head.startswith(_READ_AS_CLASSIC):
        found = _fault(file, head, is_big=False)
    return found


def _fault(file: IO[bytes], head: bytes, *, is_big: bool) -> str | None:
    size = file.seek(0, 2)
    order = "<" if head[:1] == b"I" else ">"
    count, offset, entry = ("Q", "Q", 20) if is_big else ("H", "I", 12)
    place = head[8:16] if is_big else head[4:8]
    width = struct.calcsize(f"{order}{count}")
    tags, stated = 0, 0.0
    seen: set[int] = set()
    for _ in range(MOST_PAGES):
        if len(place) < struct.calcsize(f"{order}{offset}"):
            return None
        (at,) = struct.unpack(f"{order}{offset}", place)
        if at == 0 or at in seen or at >= size:  # the last page, a loop, damage
            return None
        seen.add(at)
        file.seek(at)
        (number,) = struct.unpack(f"{order}{count}", file.read(width).ljust(width, b"\0"))
        if number > MOST_IN_PAGE:
            return f"{MOST_IN_PAGE} tags in a page"
        tags += number
        if tags > MOST_TAGS:
            return f"{MOST_TAGS} tags"
        entries = file.read(min(number * entry, size))
        stated += _stated(entries, order, is_big)
        if stated > size + MOST_SHARED:
            return f"{size + MOST_SHARED} bytes in its tags"
        place = file.read(struct.calcsize(f"{order}{offset}"))
    return f"{MOST_PAGES} pages"


def _stated(entries: bytes, order: str, is_big: bool) -> float:
    """Bytes that the values of these tags take outside their directory."""
    wide = 8 if is_big else 4
    fields = [("tag", f"{order}u2"), ("kind", f"{order}u2"), ("number", f"{order}u{wide}")]
    entry = np.dtype([*fields, ("value", f"V{wide}")])
    tags = np.frombuffer(entries, entry, len(entries) // entry.itemsize)
    sizes = tags["number"].astype(np.float64) * _BYTES[np.minimum(tags["kind"], len(_BYTES) - 1)]
    return float(sizes[sizes > wide].sum())
