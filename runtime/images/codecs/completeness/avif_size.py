"""The size that an AVIF's coded picture has, which its container may state otherwise.

A decoder stretches the picture to the container's size, however large. Read are the container's
boxes (ISO 14496-12) and the sequence header of the primary item (AV1 specification, 5.5).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_SEQUENCE_HEADER = 1  # an OBU's type
_HEADER_BYTES = 64  # more than a sequence header up to its frame size needs


def coded_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of an AVIF's primary picture as coded; None where it is not one AV1 item."""
    try:
        meta = dict(_boxes(data))[b"meta"]
        inner = dict(_boxes(data[meta.start + 4 : meta.stop]))
        body = data[meta.start + 4 : meta.stop]
        boxes = {kind: body[place.start : place.stop] for kind, place in inner.items()}
        version = boxes[b"pitm"][0]
        primary = int.from_bytes(boxes[b"pitm"][4 : 6 if version == 0 else 8], "big")
        if _item_type(boxes[b"iinf"], primary) != b"av01":
            return None  # a grid of several
        offset = _offset(boxes[b"iloc"], primary)
        return None if offset is None else _sequence_size(data[offset:][:_HEADER_BYTES])
    except (KeyError, IndexError, struct.error, EOFError):
        return None


def _boxes(data: bytes) -> Iterator[tuple[bytes, range]]:
    """Kind and place of the content of each box."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
            start += 8
        stop = len(data) if size == 0 else at + size
        if stop < start:
            return
        yield kind, range(start, stop)
        at = stop


def _item_type(iinf: bytes, item: int) -> bytes | None:
    count_size = 2 if iinf[0] == 0 else 4
    entries = iinf[4 + count_size :]
    for kind, place in _boxes(entries):
        entry = entries[place.start : place.stop]
        wide = entry[0] == 3
        number = int.from_bytes(entry[4 : 8 if wide else 6], "big")
        if kind == b"infe" and entry[0] >= 2 and number == item:
            at = 10 if wide else 8
            return entry[at : at + 4]
    return None


def _offset(iloc: bytes, item: int) -> int | None:
    """Where an item's data begin in the file; None where they lie elsewhere."""
    reader = _Bits(iloc)
    version = reader.take(8)
    reader.take(24)
    offset_size, length_size, base_size, index_size = (reader.take(4) * 8 for _ in range(4))
    for _ in range(reader.take(16 if version < 2 else 32)):
        number = reader.take(16 if version < 2 else 32)
        method = reader.take(16) & 15 if version else 0
        reader.take(16)  # the file itself
        base = reader.take(base_size)
        offsets = []
        for _ in range(reader.take(16)):
            reader.take(index_size if version else 0)
            offsets.append(base + reader.take(offset_size))
            reader.take(length_size)
        if number == item:
            return offsets[0] if method == 0 else None
    return None


def _sequence_size(obus: bytes) -> tuple[int, int] | None:
    """The largest frame's width and height of the sequence header among open bitstream units."""
    at = 0
    while at < len(obus):
        kind, has_extension, has_size = obus[at] >> 3 & 15, obus[at] & 4, obus[at] & 2
        at += 2 if has_extension else 1
        length, shift = 0, 0
        while has_size:
            length |= (obus[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if obus[at - 1] < 0x80:
                break
        if kind == _SEQUENCE_HEADER:
            return _frame_size(_Bits(obus[at:]))
        if not has_size:
            return None
        at += length
    return None


def _frame_size(bits: _Bits) -> tuple[int, int] | None:
    bits.take(4)  # profile, still picture
    if bits.take(1):  # reduced header
        bits.take(5)
    else:
        if bits.take(1):  # timing, which a still picture does not have
            return None
        has_delay = bits.take(1)
        for _ in range(bits.take(5) + 1):
            bits.take(12)
            if bits.take(5) > 7:
                bits.take(1)
            if has_delay and bits.take(1):
                bits.take(4)
    widths = bits.take(4) + 1, bits.take(4) + 1
    return bits.take(widths[0]) + 1, bits.take(widths[1]) + 1


class _Bits:
    """Numbers of so many bits, one after the other, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> int:
        """The next `count` bits; EOFError behind the end."""
        stop = self._at + count
        if stop > 8 * len(self._data):
            raise EOFError
        first, last = self._at // 8, -(-stop // 8)
        number = int.from_bytes(self._data[first:last], "big") >> (8 * last - stop)
        self._at = stop
        return number & ((1 << count) - 1)
