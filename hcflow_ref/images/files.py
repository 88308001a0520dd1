"""Image files as 8-bit RGB: which formats are read, and what an unreadable file raises."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hcflow_ref.images.pixels import Pixels

UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    ArithmeticError,
    EOFError,
    struct.error,
)
"""Raised for files that are not whole images, or that exceed Pillow's size limit."""

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "GIF", "TGA")
"""Formats that are decoded in this process; EPS, for one, would start another program."""

_BITS, _PHOTOMETRIC = 258, 262  # TIFF tags: bits per channel, and whether 0 is black


def open_image(path: Path) -> Image.Image:
    """Open an image file of one of `FORMATS`; raises one of `UNREADABLE` for anything else."""
    Image.init()
    try:
        return Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except MemoryError as error:  # only its header has been read
        raise ValueError("its header asks for more memory than there is") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise ValueError(f"more than {most} megapixels: split it") from error


def verified_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file that Pillow's own check finds whole.

    Raises:
        One of `UNREADABLE`: it is not a whole image.
    """
    with open_image(path) as image:
        size = image.size
        image.verify()
    return size


def to_rgb(image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB; Pillow's own conversion would clip 16-bit gray to white.

    Raises:
        ValueError: it has 32 bits per channel, whose range no file states.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        gray = np.asarray(image).astype(np.float32) * (255 / _white(image))
        gray = 255 - gray if _tag(image, _PHOTOMETRIC, 1) == 0 else gray
        return Image.fromarray(gray.round().astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("32 bits per channel, whose range is not known")
    return image.convert("RGB")


def _white(image: Image.Image) -> int:
    """The value of white in gray of more than 8 bits: a TIFF's follows from its bits."""
    return int((1 << max(_tag(image, _BITS, (16,)))) - 1)


def _tag(image: Image.Image, number: int, default: Any) -> Any:
    """The value of a TIFF tag; `default` where the tag is missing or the file is not a TIFF."""
    return getattr(image, "tag_v2", {}).get(number, default)


def read_image(path: Path, short_side: int = 0) -> Pixels:
    """The image as H×W×3 uint8 RGB, downscaled to `short_side` pixels where that is smaller.

    Raises:
        One of `UNREADABLE`: it is not a whole image of 8 or 16 bits per channel.
    """
    with open_image(path) as image:
        if short_side:
            image.draft("RGB", (2 * short_side, 2 * short_side))
        rgb = to_rgb(image)
    ratio = short_side / min(rgb.size)
    if 0 < ratio < 1:
        width, height = (max(1, round(side * ratio)) for side in rgb.size)
        rgb = rgb.resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(rgb)


def image_files(folder: Path) -> list[Path]:
    """Files in the folder and its subfolders with a suffix of one of `FORMATS`, sorted."""
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in known and p.is_file())
