"""The entropy-coded data of a JPEG: whether they reach the picture's last row.

A decoder that meets the end of the data goes on with gray, and so do Pillow and libvips. Noise
put behind the data tells: it changes nothing in a picture that is complete.
"""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GRAY, _NEAR = 128, 1  # what missing blocks become, also by way of YCbCr or inverted
_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")  # that is no restart and no escaped byte
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_NOISE = 1 << 14  # bytes
_LONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_ARITHMETIC = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}  # such blocks take less than a bit
_FANCY = 2  # rows above a missing block that chroma upsampling may change


def least_bytes(image: Image.Image, start: bytes) -> int:
    """The fewest bytes that a JPEG of this header can have: a block takes a bit, or two.

    Args:
        image: as opened.
        start: the file's first bytes.
    """
    layers = getattr(image, "layer", [])
    if not layers or _scan_start(start) is None:
        return 0
    across, down = (max(layer[i] for layer in layers) for i in (1, 2))
    blocks = sum(
        -(-image.width * layer[1] // (across * 8)) * -(-image.height * layer[2] // (down * 8))
        for layer in layers
    )
    return int(blocks // 8 if "progression" in image.info else blocks // 4)


def may_be_filler(pixels: NDArray[Any]) -> bool:
    """Whether all pixels are as a decoder makes those that are missing."""
    return bool((np.abs(pixels.astype(np.int16) - _GRAY) <= _NEAR).all())


def with_noise(data: bytes) -> bytes | None:
    """The file with noise behind its first scan, or None where that has no end or is none."""
    start = _scan_start(data)
    end = None if start is None else _MARKER.search(data, start)
    if start is None or end is None:
        return None
    restarts = _RESTART.findall(data, start, end.start())
    # A decoder that waits for a restart skips everything else.
    restart = bytes([0xFF, 0xD0 + len(restarts) % 8]) if restarts else b""
    noise = random.Random(0).randbytes(_NOISE).replace(b"\xff", b"")
    return data[: end.start()] + restart + noise + data[end.start() :]


def whole_rows(rows: int, image: Image.Image) -> int:
    """The rows of blocks that are there in full, where the first `rows` rows are as they were."""
    if rows == image.height:
        return rows
    block = 8 * max((layer[2] for layer in getattr(image, "layer", [])), default=1)
    return (rows + _FANCY) // block * block


def _scan_start(data: bytes) -> int | None:
    """Where the first scan's Huffman-coded data begin; None where there are none."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _ARITHMETIC:
            return None
        if marker in _LONE:
            at += 2
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:
            return at
    return None
