"""The segments and scans of a JPEG, counted: each scan goes over the whole picture again."""

from __future__ import annotations

import re
from typing import IO

MOST_SCANS = 100
"""Scans; encoders make about ten."""

MOST_SEGMENTS = 10_000
"""Segments before and between the scans; a profile of the largest size takes 255."""

MOST_JUNK = 1 << 16
"""Bytes between segments that belong to none, which a decoder skips one by one."""

_BLOCK = 1 << 20
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # no restart, no escaped byte, no padding
_LONE = (0x01, 0xD8)
_SCAN, _END = 0xDA, 0xD9


def fault(file: IO[bytes]) -> str | None:
    """What it has too many of; None where nothing."""
    at, scans, junk = 2, 0, 0
    for _ in range(MOST_SEGMENTS):
        place = _next_marker(file, at, MOST_JUNK if scans == 0 else None)
        if place is None:
            return None
        start, code = place
        if scans == 0:
            junk += start - at
        if junk >= MOST_JUNK:
            return f"{MOST_JUNK} bytes between its segments"
        at = start + 2
        if code == _END:
            return None
        if code in _LONE:
            continue
        if code == _SCAN:
            scans += 1
            if scans > MOST_SCANS:
                return f"{MOST_SCANS} scans"
        file.seek(at)
        at += max(int.from_bytes(file.read(2), "big"), 2)
    return f"{MOST_SEGMENTS} segments"


def _next_marker(file: IO[bytes], at: int, most: int | None) -> tuple[int, int] | None:
    """Place and code of the next marker; None where there is none.

    Behind `most` bytes the place alone counts, and the code is that of no segment.
    """
    end = None if most is None else at + most
    while True:
        file.seek(at)
        block = file.read(_BLOCK if end is None else min(_BLOCK, end - at + 2))
        found = _MARKER.search(block)
        if found is not None:
            return at + found.start(), block[found.start() + 1]
        if len(block) < 2:
            return None
        at += len(block) - 1  # the last byte may begin a marker
        if end is not None and at >= end:
            return end, _LONE[0]
