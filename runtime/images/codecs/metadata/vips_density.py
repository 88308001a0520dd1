"""libvips states a density in every file, 25.4 dots an inch where it was given none: taken out.

It is overwritten in place, in a file of any size: no byte moves.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from runtime.images.codecs.metadata.density import TAGS

Buffer = bytearray | mmap.mmap

_TIFF_STARTS = (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08")  # of EXIF as libexif writes it
_MOST_TAGS = 1000  # more than any directory that libvips writes
_NO_PHYS = (1).to_bytes(4, "big") * 2 + b"\0"  # pixels are square, of unknown size


def erase_file(path: Path, format_name: str) -> None:
    """Take the density out of a file that libvips has written."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        _erase(content, format_name)


def erase(data: bytes, format_name: str) -> bytes:
    """The bytes of such a file without it."""
    content = bytearray(data)
    _erase(content, format_name)
    return bytes(content)


def _erase(content: Buffer, format_name: str) -> None:
    if format_name == "TIFF":
        _drop_tags(content, 0, len(content))
    elif format_name == "PNG":
        _erase_png(content)
    else:
        if format_name == "JPEG" and content[6:11] == b"JFIF\0":
            content[13:18] = b"\0\0\1\0\1"  # no unit, square pixels
        for start in _TIFF_STARTS:
            at = content.find(start)
            while at >= 0:
                _drop_tags(content, at, len(content))
                at = content.find(start, at + 1)


def _erase_png(content: Buffer) -> None:
    for kind, start, stop in _chunks(content):
        if kind == b"pHYs":
            content[start:stop] = _NO_PHYS
        elif kind == b"eXIf":
            _drop_tags(content, start, stop)
        else:
            continue
        crc = zlib.crc32(content[start - 4 : stop])
        content[stop : stop + 4] = crc.to_bytes(4, "big")


def _chunks(content: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and stop of the content of each chunk of a PNG."""
    at = 8
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        yield bytes(content[at + 4 : at + 8]), at + 8, at + 8 + length
        at += length + 12


def _drop_tags(content: Buffer, start: int, stop: int) -> None:
    """Take a density's tags out of the first directory of a TIFF, or of EXIF, in [start, stop)."""
    is_little = content[start : start + 2] == b"II"
    order: Literal["little", "big"] = "little" if is_little else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(content[at : at + size], order)

    is_big = number(start + 2, 2) == 43  # BigTIFF: offsets of 64 bits
    count_size, entry_size, offset_size = (8, 20, 8) if is_big else (2, 12, 4)
    directory = start + number(start + (8 if is_big else 4), offset_size)
    count = number(directory, count_size)
    first = directory + count_size
    end = first + count * entry_size
    if count > _MOST_TAGS or end + offset_size > stop:
        return  # these bytes only look like a directory
    entries = [bytes(content[at : at + entry_size]) for at in range(first, end, entry_size)]
    tags = [int.from_bytes(entry[:2], order) for entry in entries]
    if tags != sorted(tags):
        return
    kept = [entry for tag, entry in zip(tags, entries, strict=True) if tag not in TAGS]
    rest = b"".join(kept) + bytes(content[end : end + offset_size])
    content[directory:first] = len(kept).to_bytes(count_size, order)
    content[first : end + offset_size] = rest.ljust(end + offset_size - first, b"\0")
