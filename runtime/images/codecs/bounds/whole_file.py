"""A file's bytes, read up to a limit: of bytes, then of pixels by the header, then of memory."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Callable
from typing import IO

from runtime.errors import HcflowError, ImageError, SizeError
from runtime.system import machine

MOST_BEFORE_HEADER = 4 << 20
"""Bytes that are read of a pipe before a header has to be found in them."""

MOST_BESIDE_PIXELS = 64 << 20
"""Bytes that a file may have beside its pixels: profiles, previews, text."""

_BYTES_A_PIXEL = 16  # four channels of 32 bits
_BLOCK = 1 << 20

# How formats begin whose decoders need the whole file: a TIFF's directory may stand at its end.
_WHOLE = re.compile(rb"II[*+]\0|MM\0[*+]|RIFF.{4}WEBP|.{4}ftypavi[fs]", re.DOTALL)
_BEGINNINGS = re.compile(
    rb"\x89PNG|\xff\xd8\xff|GIF8|BM|P[1-6fFy]\s|\0\0\0\x0cjP  |\xff\x4f\xff\x51"
)


def most_bytes(max_pixels: int) -> int:
    """The largest file that is read for images of so many pixels."""
    return MOST_BESIDE_PIXELS + _BYTES_A_PIXEL * max_pixels


def read(
    file: IO[bytes], where: str, max_pixels: int, check_header: Callable[[IO[bytes]], object]
) -> bytes:
    """All bytes of a file, a pipe or a device.

    Args:
        file: open, at its start.
        where: names it in errors.
        max_pixels: limit of the image.
        check_header: raises one of our errors unless it finds an image's header in a file.

    Raises:
        ImageError: there is no header, or the file has more bytes than the pixels or the free
            memory allow; the message names the limit.
    """
    if file.seekable() and _is_file(file):
        check_header(file)
        check_size(file.seek(0, 2), where, max_pixels)
        file.seek(0)
        return file.read()
    blocks, size = list[bytes](), 0
    is_image = False
    while block := file.read(_BLOCK):
        blocks.append(block)
        size += len(block)
        if not is_image and size >= MOST_BEFORE_HEADER:
            _check_start(b"".join(blocks), where, check_header)
            is_image = True
        if is_image:
            check_size(size, where, max_pixels)
    return b"".join(blocks)


def _is_file(file: IO[bytes]) -> bool:
    """Whether what is read is a file on disk; an object of Python's in its place is none."""
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except io.UnsupportedOperation:
        return False


def _check_start(start: bytes, where: str, check_header: Callable[[IO[bytes]], object]) -> None:
    if _WHOLE.match(start):
        return
    try:
        check_header(io.BytesIO(start))
    except HcflowError as error:
        if _BEGINNINGS.match(start):
            raise
        raise ImageError(
            f"{where} is not an image: its first {MOST_BEFORE_HEADER} bytes, the limit, hold no "
            "header"
        ) from error


def check_size(size: int, where: str, max_pixels: int) -> None:
    """Refuse so many bytes for an image of at most `max_pixels`; raises `ImageError`."""
    most, free = most_bytes(max_pixels), machine.available_memory()
    if size > most:
        raise SizeError(
            f"{where} has more than {most} bytes, the limit for images of {max_pixels} pixels: "
            "raise --max-pixels (max_pixels) if you trust it"
        )
    if free is not None and size > free:
        raise SizeError(f"{where} has {size} bytes or more, and {free} bytes of memory are free")
