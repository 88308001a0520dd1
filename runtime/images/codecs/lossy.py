"""How formats are written, as Pillow and libvips name it: quality, chroma, effort of a PNG."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from PIL import Image

QUALITY = {"JPEG": 95, "AVIF": 90}
"""Quality of the formats that are always lossy, where none is asked for."""

FORMATS = (*QUALITY, "WEBP")
"""Formats that take a quality; WebP is lossless without one."""

_HALVED = 2  # Pillow's number for chroma of half the width and height, 4:2:0


@dataclass(frozen=True)
class Lossy:
    """How an image is written where its format leaves a choice.

    Attributes:
        quality: 1 to 100; None is the format's usual one.
        halves_chroma: whether a JPEG keeps its chroma at half the width and height (4:2:0).
        png_level: how hard a PNG is compressed, 0 to 9; None is the usual 6, four times 1's time.
    """

    quality: int | None = None
    halves_chroma: bool = False
    png_level: int | None = None

    def pillow(self, format_name: str) -> dict[str, Any]:
        """Options of Pillow's writer of a format."""
        if format_name == "PNG" and self.png_level is not None:
            return {"compress_level": self.png_level}
        if format_name not in FORMATS:
            return {}
        if format_name == "WEBP" and self.quality is None:
            return {"lossless": True, "exact": True}  # keeps the colours under full transparency
        options: dict[str, Any] = {"quality": self.quality or QUALITY.get(format_name)}
        if format_name == "JPEG":
            options["subsampling"] = _HALVED if self.halves_chroma else 0
        return options | ({"exact": True} if format_name == "WEBP" else {})

    def vips(self, format_name: str) -> dict[str, Any]:
        """Options of libvips's writer of a format, where they are not its usual ones."""
        options: dict[str, Any] = {}
        if format_name == "PNG" and self.png_level is not None:
            options["compression"] = self.png_level
        if self.quality is not None and format_name in FORMATS:
            options["Q"] = self.quality
            options |= {"lossless": False} if format_name == "WEBP" else {}
        if format_name == "JPEG" and self.halves_chroma:
            options["subsample_mode"] = "on"
        return options


USUAL = Lossy()
"""Every format's usual quality, chroma whole."""


def halves_chroma(opened: Image.Image) -> bool:
    """Whether an opened file is a JPEG whose chroma has half the width and height."""
    if opened.format != "JPEG":
        return False
    plugin = importlib.import_module("PIL.JpegImagePlugin")  # loaded, since a JPEG is open
    return bool(plugin.get_sampling(opened) == _HALVED)
