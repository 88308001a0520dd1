"""The density of an image in dots per inch: the same number in every file that can hold one.

A file that states none gives None, and none is written: no format's default counts as stated.
"""

from __future__ import annotations

import math
from typing import Any

from PIL import ExifTags, Image

from runtime.images.codecs.metadata import exif_xmp

Density = tuple[float, float]
"""Dots per inch across and down."""

BY_EXIF = ("WEBP", "AVIF")
"""Formats that hold a density only in their EXIF."""

_X, _Y = int(ExifTags.Base.XResolution), int(ExifTags.Base.YResolution)
_UNIT = int(ExifTags.Base.ResolutionUnit)
TAGS = (_X, _Y, _UNIT)
"""Tags of EXIF and TIFF that state a density."""

_DOTS_PER_INCH = {2: 1.0, 3: 2.54}  # EXIF's and TIFF's units: inch and centimetre
_JFIF_UNITS = {1: 1.0, 2: 2.54}
_FIRST_ON_ITS_SIDE = 5
_RANGE = (1, 65_535)  # what a JPEG can state
_HALF_A_DOT_PER_METRE = 0.0128  # PNG, BMP and JPEG 2000 count whole dots per metre


def of(opened: Image.Image, exif: bytes | None, orientation: int = 1) -> Density | None:
    """The density that a file states in its own fields, or else in its EXIF; None: it states none.

    Args:
        opened: the file as Pillow opened it.
        exif: of it, as `exif_xmp.portable_exif` gives it.
        orientation: 1 to 8; from 5 on, what the file calls across is down in the upright image.
    """
    found = _native(opened)
    if found is None and exif is not None and opened.format != "TIFF":
        found = exif_xmp.sound_exif(lambda: _of_tags(exif_xmp.loaded_exif(exif)))
    if found is not None and orientation >= _FIRST_ON_ITS_SIDE:
        return found[1], found[0]
    return found


def in_exif(exif: bytes | None, density: Density | None, format_name: str) -> bytes | None:
    """EXIF with the density, where it states one already or is the format's only place for it."""
    if density is None:
        return exif
    tags = Image.Exif() if exif is None else exif_xmp.loaded_exif(exif)
    if format_name not in BY_EXIF and _X not in tags:
        return exif
    tags[_X], tags[_Y], tags[_UNIT] = density[0], density[1], 2
    return tags.tobytes()


def save_options(density: Density | None, format_name: str) -> dict[str, Any]:
    """Options of Pillow's writer: a BMP needs one to state none, in place of Pillow's 96."""
    if format_name == "BMP":
        return {"dpi": density or (0, 0)}
    return {"dpi": density} if density and format_name in ("PNG", "JPEG", "TIFF") else {}


def _native(opened: Image.Image) -> Density | None:
    if opened.format == "TIFF":
        return _of_tags(getattr(opened, "tag_v2", {}))
    if opened.format == "JPEG":  # Pillow's own `dpi` is 72 where neither JFIF nor EXIF states one
        factor = _JFIF_UNITS.get(opened.info.get("jfif_unit", 0), 0)
        return _sound(opened.info.get("jfif_density"), factor)
    if opened.format in ("PNG", "BMP", "JPEG2000"):
        return _sound(opened.info.get("dpi"), 1)
    return None


def _of_tags(tags: Any) -> Density | None:
    if _X not in tags or _Y not in tags:
        return None
    return _sound((tags[_X], tags[_Y]), _DOTS_PER_INCH.get(tags.get(_UNIT, 2), 0))


def _sound(values: Any, factor: float) -> Density | None:
    """Two numbers times a factor, or None where they are no density."""
    try:
        x, y = (float(value) * factor for value in values)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not all(math.isfinite(value) and _RANGE[0] <= value <= _RANGE[1] for value in (x, y)):
        return None
    return _whole(x), _whole(y)


def _whole(value: float) -> float:
    """300 dots an inch are 11811 a metre, which are 299.9994 an inch: these are 300."""
    nearest = float(round(value))
    return nearest if abs(value - nearest) < _HALF_A_DOT_PER_METRE else value
