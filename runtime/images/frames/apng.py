"""Animated PNG, written frame by frame: of each only the rectangle that differs from the last."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import count
from typing import IO

from PIL import Image

from runtime.images.codecs import formats
from runtime.images.codecs.formats import Photo
from runtime.images.frames.animation import Timing
from runtime.images.frames.changed import changed_box

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST = 0xFFFF  # of a delay's numerator and denominator
_KEEP, _REPLACE = 0, 0  # what becomes of a frame's rectangle, and how it is put there


def write(file: IO[bytes], frames: Iterator[Image.Image], timing: Timing, like: Photo) -> None:
    """Write an animated PNG.

    Args:
        file: to write to.
        frames: of one size, and of the mode L, RGB or RGBA.
        timing: one duration a frame.
        like: with the metadata of the file.
    """
    last = next(frames)
    chunks = list(_chunks(formats.encode(replace(like, image=last), "PNG")))
    is_data = [kind == b"IDAT" for kind, _ in chunks]
    shown = len(timing.durations) - timing.has_poster
    numbers = count()
    file.write(_SIGNATURE)
    _put(file, *chunks[0])  # the header
    _put(file, b"acTL", struct.pack(">LL", shown, timing.plays))
    for (kind, data), of_pixels in zip(chunks[1:-1], is_data[1:-1], strict=True):
        if not of_pixels:
            _put(file, kind, data)
    if not timing.has_poster:
        _put(file, b"fcTL", _control(next(numbers), (0, 0, *last.size), timing.durations[0]))
    for kind, data in chunks:
        if kind == b"IDAT":
            _put(file, kind, data)
    for index, (frame, duration) in enumerate(zip(frames, timing.durations[1:], strict=True)):
        is_first_shown = timing.has_poster and index == 0
        box = (0, 0, *frame.size) if is_first_shown else changed_box(last, frame)
        _put(file, b"fcTL", _control(next(numbers), box, duration))
        for kind, data in _chunks(_plain(frame.crop(box))):
            if kind == b"IDAT":
                _put(file, b"fdAT", struct.pack(">L", next(numbers)) + data)
        last = frame
    _put(file, b"IEND", b"")


def _plain(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _control(number: int, box: tuple[int, int, int, int], duration: float) -> bytes:
    left, top, right, bottom = box
    delay = Fraction(duration / 1000).limit_denominator(_MOST)
    if delay.numerator > _MOST:
        delay = min(delay.limit_denominator(1), Fraction(_MOST))
    place = (right - left, bottom - top, left, top)
    return struct.pack(">5L2H2B", number, *place, *delay.as_integer_ratio(), _KEEP, _REPLACE)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of every chunk."""
    at = len(_SIGNATURE)
    while at < len(png):
        length, kind = struct.unpack_from(">L4s", png, at)
        yield kind, png[at + 8 : at + 8 + length]
        at += 12 + length


def _put(file: IO[bytes], kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">L4s", len(data), kind) + data)
    file.write(struct.pack(">L", zlib.crc32(data, zlib.crc32(kind))))
