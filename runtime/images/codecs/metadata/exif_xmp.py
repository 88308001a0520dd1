"""EXIF and XMP of an image, corrected for the upright image of another size made from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from PIL import ExifTags, Image

from runtime.errors import one_line
from runtime.images.codecs import notices

_Base, _Ifd = ExifTags.Base, ExifTags.IFD

# Tags of a TIFF's directory that describe the picture, not how the file stores it.
_DESCRIPTIVE = (
    _Base.ImageDescription,
    _Base.Make,
    _Base.Model,
    _Base.Software,
    _Base.DateTime,
    _Base.Artist,
    _Base.Copyright,
)
XMP_TAG = 700
"""TIFF's tag for an XMP packet."""

_Found = TypeVar("_Found")


def portable_exif(image: Image.Image) -> bytes | None:
    """An image's EXIF without orientation, as bytes for any format; None where there is none.

    Damaged EXIF is None with a warning, also where it can be read and not be written again. A TIFF
    gives the tags that describe the picture, and its Exif and GPS directories.
    """
    return sound_exif(lambda: _portable_exif(image))


def _portable_exif(image: Image.Image) -> bytes | None:
    exif = image.getexif()
    if image.format == "TIFF":
        whole, exif = exif, Image.Exif()
        for tag in _DESCRIPTIVE:
            if tag in whole:
                exif[tag] = whole[tag]
        for ifd in (_Ifd.Exif, _Ifd.GPSInfo):
            exif.get_ifd(ifd).update(whole.get_ifd(ifd))
    return _upright(exif)


def xmp_of(image: Image.Image) -> bytes | None:
    """An image's XMP packet; its pixels have to be loaded."""
    xmp = image.info.get("xmp")
    if xmp is None:
        xmp = image.info.get("XML:com.adobe.xmp")  # libvips writes it as a PNG's zTXt, in Latin-1
        xmp = xmp.encode("latin-1", "replace") if isinstance(xmp, str) else xmp
    return xmp if isinstance(xmp, bytes) else None


def orientation(image: Image.Image) -> int:
    """The orientation that an image's EXIF, or else its XMP, states, 1 to 8; 1 where none does."""
    exif = sound_exif(image.getexif)
    stated = 1 if exif is None else exif.get(_Base.Orientation, 1)
    return stated if isinstance(stated, int) and 1 <= stated <= 8 else 1


def xmp_orientation(data: bytes) -> int:
    """The orientation that an XMP packet states, 1 to 8; 1 where it states none."""
    found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', data)  # what Pillow looks for
    return int(found[1]) if found else 1


def upright_exif(data: bytes | None) -> bytes | None:
    """EXIF without orientation; None, with a warning, where it is damaged."""
    return None if data is None else sound_exif(lambda: _upright(loaded_exif(data)))


def sound_exif(read: Callable[[], _Found]) -> _Found | None:
    """What `read` gives; None, with a warning, where the EXIF is damaged: the image need not be."""
    try:
        return read()
    except Exception as error:  # damaged EXIF fails in all kinds of ways
        notices.add(f"damaged EXIF is left out: {one_line(error)}")
        return None


def sized_exif(data: bytes | None, width: int, height: int) -> bytes | None:
    """EXIF whose pixel dimensions, where it states any, are set to width × height."""
    if data is None:
        return None
    exif = loaded_exif(data)
    detail = exif.get_ifd(_Ifd.Exif)
    for tags, names in (
        (exif, (_Base.ImageWidth, _Base.ImageLength)),
        (detail, (_Base.ExifImageWidth, _Base.ExifImageHeight)),
    ):
        for name, value in zip(names, (width, height), strict=True):
            if name in tags:
                tags[name] = value
    return exif.tobytes()


def sized_xmp(data: bytes | None, width: int, height: int) -> bytes | None:
    """XMP whose pixel dimensions and orientation, where stated, are those of the upright image."""
    if data is None:
        return None
    values = {
        rb"tiff:Orientation": 1,
        rb"(?:tiff:ImageWidth|exif:PixelXDimension)": width,
        rb"(?:tiff:ImageLength|exif:PixelYDimension)": height,
    }
    for name, value in values.items():
        pattern = rb"(" + name + rb"\s*(?:=\s*[\"']|>))\d+"
        data = re.sub(pattern, rb"\g<1>%d" % value, data)
    return data


def tiff_tags(exif: bytes | None, xmp: bytes | None) -> Image.Exif:
    """The tags of EXIF and XMP that a TIFF takes: the descriptive ones and the XMP packet."""
    whole = Image.Exif() if exif is None else loaded_exif(exif)
    tags = Image.Exif()
    for tag in _DESCRIPTIVE:
        if tag in whole:
            tags[tag] = whole[tag]
    if xmp is not None:
        tags[XMP_TAG] = xmp
    return tags


def loaded_exif(data: bytes) -> Image.Exif:
    """EXIF, parsed; damaged EXIF raises all kinds of errors."""
    exif = Image.Exif()
    exif.load(data)
    return exif


def _upright(exif: Image.Exif) -> bytes | None:
    """The bytes, which fail in all kinds of ways where a tag is of a type that it cannot have."""
    exif.pop(_Base.Orientation, None)
    if not exif and not exif.get_ifd(_Ifd.Exif) and not exif.get_ifd(_Ifd.GPSInfo):
        return None
    return exif.tobytes()
