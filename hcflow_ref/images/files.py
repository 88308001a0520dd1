"""Image files as 8-bit RGB: which formats are read, and what an unreadable file raises."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""H×W×3 uint8 RGB."""

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
"""What is raised for files that are no whole images, or larger than Pillow takes."""


FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "JPEG2000", "AVIF", "GIF", "TGA")
"""Only formats that are decoded in process: EPS, for one, would start another program."""

_BITS, _PHOTOMETRIC = 258, 262  # a TIFF's tags: bits a channel, and what their values mean


def open_image(path: Path) -> Image.Image:
    """Open an image file of one of `FORMATS`; raises one of `UNREADABLE` for anything else."""
    Image.init()
    try:
        return Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN])
    except MemoryError as error:  # only its header has been read
        raise ValueError("its header asks for more memory than there is") from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise ValueError(f"more than {most} megapixels: cut it into parts") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """The image as 8-bit RGB; Pillow's own conversion would clip 16-bit gray to white.

    Raises:
        ValueError: it has 32 bits a channel, the range of which no file states.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        gray = np.asarray(image).astype(np.float32) * (255 / _white(image))
        gray = 255 - gray if _tag(image, _PHOTOMETRIC, 1) == 0 else gray
        return Image.fromarray(gray.round().astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError("32 bits a channel, the range of which is not known")
    return image.convert("RGB")


def _white(image: Image.Image) -> int:
    """The largest value of deep gray: of a TIFF by its bits, of which Pillow makes no more."""
    return int((1 << max(_tag(image, _BITS, (16,)))) - 1)


def _tag(image: Image.Image, number: int, default: Any) -> Any:
    """What stands under a tag of a TIFF's directory; `default` where it does not, or of no TIFF."""
    return getattr(image, "tag_v2", {}).get(number, default)


def read_image(path: Path, short_side: int = 0) -> Pixels:
    """The image as H×W×3 uint8 RGB, downscaled to `short_side` where that is smaller.

    Raises:
        One of `UNREADABLE`: it is not a whole image, or none of 8 or 16 bits a channel.
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
    """Files below the folder whose names end like one of `FORMATS`, sorted."""
    known = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in known and p.is_file())
