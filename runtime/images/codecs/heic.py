"""HEIC and HEIF photographs, read by pi-heif (extra `heic`), which decodes and never encodes."""

from __future__ import annotations

import functools
import importlib
import io
import logging
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

FORMAT = "HEIF"
"""Pillow's name of the format, known to it once `find` has been called."""

SUFFIXES = (".heic", ".heics", ".heif", ".heifs", ".hif")

INSTALL = "pip install 'hcflow-deploy[heic]'"
"""What brings the reader."""

_START = re.compile(rb".{4}ftyp(hei[cxms]|hev[cxms]|mif1|msf1)", re.DOTALL)
_TOP = 0xFFFF
_HDR_CURVES = (16, 18)  # PQ and HLG, of ISO 23091-2's transfer characteristics

_logger = logging.getLogger(__name__)


@functools.cache
def find() -> Any | None:
    """The module `pi_heif`, made known to Pillow; None where it is not installed."""
    try:
        pi_heif = importlib.import_module("pi_heif")
    except ImportError:
        return None
    # Only pictures that stand for themselves: not the thumbnails and depth maps beside them.
    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return pi_heif


def begins(start: bytes) -> bool:
    """Whether a file with these first bytes, 12 at least, is a HEIC or HEIF (or an odd AVIF)."""
    return _START.match(start) is not None


def refusal(where: str) -> str:
    """Why such a file is not read."""
    if find() is None:
        return f"{where} is a HEIC: {INSTALL} reads it"
    return f"{where} is damaged: it begins as HEIC and goes on otherwise"


def depth(opened: Image.Image) -> int:
    """Bits a channel of an opened file; 8 of any other format."""
    return int(opened.info.get("bit_depth", 8)) if opened.format == FORMAT else 8


def decode(data: bytes) -> NDArray[np.uint16]:
    """Pixels [H, W, C] of a file with more than 8 bits a channel, scaled to 16 bits.

    libheif has turned them as the file's boxes say, which is all that a HEIC's orientation is.
    """
    pi_heif = find()
    assert pi_heif is not None
    image = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)
    top = (1 << int(image.info["bit_depth"])) - 1
    values = np.asarray(image).astype(np.uint32)
    pixels: NDArray[np.uint16] = ((values * _TOP + top // 2) // top).astype(np.uint16)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def warn_of_curve(opened: Image.Image, where: str) -> None:
    """Log that an HDR picture's brightness is kept as coded, where it has a curve of its own."""
    profile = opened.info.get("nclx_profile") or {}
    if profile.get("transfer_characteristics") in _HDR_CURVES:
        _logger.warning("%s is HDR (PQ or HLG): the result has its values, not its curve", where)
