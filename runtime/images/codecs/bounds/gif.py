"""The blocks of a GIF, counted: a decoder goes through all of them to count the frames."""

from __future__ import annotations

from typing import IO

MOST_BLOCKS = 50_000
"""Images and extensions."""

MOST_SMALL = 100_000
"""Sub-blocks of fewer bytes than 128: encoders fill them, but for the last of a block."""


def fault(file: IO[bytes]) -> str | None:
    """What it has too many of; None where nothing."""
    file.seek(10)
    flags = file.read(3)[:1]
    _skip_colours(file, flags)
    small = 0
    for _ in range(MOST_BLOCKS):
        kind = file.read(1)
        if kind == b"!":
            file.seek(1, 1)
        elif kind == b",":
            file.seek(8, 1)
            _skip_colours(file, file.read(1))
            file.seek(1, 1)
        elif kind != b"\0":  # the end, or damage
            return None
        else:
            continue
        while (size := file.read(1)) not in (b"", b"\0"):
            small += size[0] < 128
            if small > MOST_SMALL:
                return f"{MOST_SMALL} small sub-blocks"
            file.seek(size[0], 1)
    return f"{MOST_BLOCKS} blocks"


def _skip_colours(file: IO[bytes], flags: bytes) -> None:
    if flags and flags[0] & 0x80:
        file.seek(3 << ((flags[0] & 7) + 1), 1)
