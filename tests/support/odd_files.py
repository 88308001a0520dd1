"""Image files by hand, for headers that Pillow would not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

_CODES = {1: "B", 3: "H", 4: "I"}


def png(
    width: int, height: int, depth: int, colour: int, data: bytes = b"", xmp: bytes | None = None
) -> bytes:
    """A PNG with this header, these (filtered) rows, and this XMP, if any."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    text = b"" if xmp is None else chunk(b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + xmp)
    body = chunk(b"IHDR", header) + text + chunk(b"IDAT", zlib.compress(data))
    body += chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(
    width: int,
    height: int,
    bits: Sequence[int],
    photometric: int,
    strips: Sequence[bytes],
    extra: int | None = None,
    sample_format: int | None = None,
    tile: int | None = None,
) -> bytes:
    """An uncompressed TIFF; more strips than one are planes of a channel each.

    `extra` is the kind of the channels beyond colour; with `tile` the strips are tiles of its side.
    """
    offsets = [8 + sum(map(len, strips[:i])) for i in range(len(strips))]
    tags: dict[int, tuple[int, Sequence[int]]] = {
        256: (3, [width]),
        257: (3, [height]),
        258: (3, bits),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, offsets),
        277: (3, [len(bits)]),
        278: (3, [height]),
        279: (4, [len(strip) for strip in strips]),
        284: (3, [1 if len(strips) == 1 else 2]),
    }
    if extra is not None:
        tags[338] = (3, [extra] * (len(bits) - (3 if photometric == 2 else 1)))
    if sample_format is not None:
        tags[339] = (3, [sample_format] * len(bits))
    if tile is not None:
        tags |= {322: (3, [tile]), 323: (3, [tile]), 324: tags.pop(273), 325: tags.pop(279)}
        del tags[278]
    directory = 8 + sum(map(len, strips))
    end = directory + 2 + 12 * len(tags) + 4
    entries, values = b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        packed = struct.pack(f"<{len(numbers)}{_CODES[kind]}", *numbers)
        if len(packed) > 4:
            place = struct.pack("<I", end + len(values))
            values += packed
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, kind, len(numbers)) + place
    count = struct.pack("<H", len(tags))
    head = b"II*\0" + struct.pack("<I", directory)
    return head + b"".join(strips) + count + entries + bytes(4) + values
