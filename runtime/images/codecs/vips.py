"""libvips, through its binding pyvips: 16-bit colour and files in strips.

An optional library (extra `large`): `find` gives None without it, `require` raises.
"""

from __future__ import annotations

import errno
import functools
import importlib
import io
import logging
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from runtime.errors import BackendError, TemporaryFolderError, one_line
from runtime.images.codecs import size_limits
from runtime.images.codecs.metadata import colour_profile, exif_xmp, vips_density
from runtime.images.codecs.metadata.density import Density

# Pillow's format names → libvips's loader: no other loader ever sees a file.
_LOADERS = {"PNG": "pngload", "TIFF": "tiffload", "JPEG": "jpegload", "WEBP": "webpload"}
_LOADERS["AVIF"] = "heifload"
LOADED = tuple(_LOADERS)
"""Formats that `load` takes."""

_NOT_WRITTEN = re.compile(r"unable to write to|write failed")


@functools.cache
def find() -> Any | None:
    """The module `pyvips`, set up, or None where it or its library cannot be imported."""
    logging.getLogger("pyvips").setLevel(logging.ERROR)
    try:
        pyvips = importlib.import_module("pyvips")
    except (ImportError, OSError):  # OSError: the binding is there, the library is not
        return None
    # No result is used twice: a cache would only hold memory and open files.
    pyvips.cache_set_max(0)
    return pyvips


def require(what: str) -> Any:
    """The module `pyvips`.

    Raises:
        BackendError: it is not installed; the message names `what` needs it.
    """
    pyvips = find()
    if pyvips is None:
        raise BackendError(f"{what} needs pyvips: pip install 'hcflow-deploy[large]'")
    return pyvips


def takes(path: str | os.PathLike[str]) -> bool:
    """Whether libvips can open a file of this name: it has to be UTF-8."""
    try:
        os.fspath(path).encode("utf-8")
    except UnicodeEncodeError:  # a surrogate: how Python represents any other byte
        return False
    return True


def load(source: str | bytes, format_name: str, *, salvage: bool = False, **options: Any) -> Any:
    """Open a file (by path) or its bytes with the one loader of its format; nothing is decoded yet.

    Rows that are missing are an error when they are read, unless `salvage` is given; those of a
    JPEG that ends properly are not (`completeness.streamed`).

    Raises:
        BackendError: no pyvips, or its libvips was built without the format.
        pyvips.Error: damaged.
    """
    pyvips = require(f"reading {format_name} this way")
    loader = _LOADERS[format_name] + ("_buffer" if isinstance(source, bytes) else "")
    if pyvips.type_find("VipsOperation", loader) == 0:
        raise BackendError(f"this libvips was built without {format_name}: install pyvips-binary")
    pyvips.Error("")  # it takes with it what libvips noted about the files before
    # What a TIFF lacks is no truncation to libvips.
    fail_on = "none" if salvage else "error" if format_name == "TIFF" else "truncated"
    return pyvips.Operation.call(loader, source, fail_on=fail_on, **options)


def check_temporary(error: Exception) -> None:
    """Tell a fault of the temporary folder, where libvips puts large images, from a file's damage.

    Args:
        error: a `pyvips.Error` of reading, which writes nothing else.

    Raises:
        TemporaryFolderError: it is about a temporary file.
    """
    text = one_line(error)
    if not _NOT_WRITTEN.search(text):
        return
    folder = os.environ.get("TMPDIR", "/tmp")  # as libvips chooses it
    numbers = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT)
    reason = next((os.strerror(each) for each in numbers if os.strerror(each) in text), text)
    raise TemporaryFolderError(
        f"cannot write into the temporary folder '{folder}': {reason}: "
        "let TMPDIR name a folder with room for the decoded image"
    ) from error


def field(image: Any, name: str) -> bytes | None:
    """A blob of metadata (`icc-profile-data`, `exif-data`, `xmp-data`), or None."""
    return bytes(image.get(name)) if image.get_typeof(name) else None


def halves_chroma(image: Any) -> bool:
    """Whether an opened file is a JPEG whose chroma has half the width and height (4:2:0)."""
    name = "jpeg-chroma-subsample"
    return bool(image.get_typeof(name)) and image.get(name) == "4:2:0"


_MM_PER_INCH = 25.4  # libvips counts dots per millimetre
_KEEP_BUT_EXIF = 2 | 8  # libvips's flags: XMP and ICC profile

SAVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "PNG": ("pngsave", {}),
    "TIFF": ("tiffsave", {"compression": "deflate", "predictor": "horizontal"}),
    "JPEG": ("jpegsave", {"Q": 95, "subsample_mode": "off"}),
    "WEBP": ("webpsave", {"lossless": True, "exact": True}),
    "AVIF": ("heifsave", {"Q": 90, "compression": "av1"}),
}
"""Formats written → libvips's saver and the options that match `formats.encode`."""


@dataclass(frozen=True)
class Metadata:
    """What goes into a file beside the pixels; None is left out."""

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    density: Density | None = None


def save(
    image: Any, format_name: str, fields: Metadata, path: str | None = None, **options: Any
) -> Any:
    """Encode an image in a format of `SAVERS`: into a file, or else the bytes.

    The colour space is that of the channels and bits.

    Raises:
        pyvips.Error: the format cannot hold the image, or the disk is full.
    """
    pyvips = require(f"writing {format_name} this way")
    saver, usual = SAVERS[format_name]
    fields = replace(fields, icc=colour_profile.exact(fields.icc))
    colour_profile.tell_of_size(fields.icc, format_name)
    options = {**usual, **options}
    if not pyvips.at_least_libvips(8, 18):
        options.pop("exact", None)  # which an older libvips does not know
    needs_exif = format_name == "JPEG" and fields.density is not None  # its only place for one
    if fields.exif is None and not needs_exif and pyvips.at_least_libvips(8, 15):
        options["keep"] = _KEEP_BUT_EXIF  # else it writes EXIF of its own
    image = _with_metadata(image, fields)
    if path is None:
        data: bytes = pyvips.Operation.call(f"{saver}_buffer", image, **options)
        return data if fields.density else vips_density.erase(data, format_name)
    pyvips.Operation.call(saver, image, path, **options)
    if not fields.density:
        vips_density.erase_file(Path(path), format_name)
    return None


def orientation(image: Any, source: str | bytes, format_name: str) -> int:
    """The EXIF orientation of an image that `load` opened, 1 (upright) to 8.

    As in Pillow, the XMP counts where EXIF or the directory states none.
    """
    stated = int(image.get("orientation")) if image.get_typeof("orientation") else None
    xmp = field(image, "xmp-data")
    if xmp is None or format_name == "AVIF":  # libvips has rotated it as its boxes say
        return stated or 1
    if stated is None or (stated == 1 and format_name == "TIFF" and not _has_tag(source)):
        return exif_xmp.xmp_orientation(xmp)
    return stated


@size_limits.any_size()
def _has_tag(tiff: str | bytes) -> bool:
    """Whether a TIFF states an orientation: libvips gives 1 where it does not."""
    file = io.BytesIO(tiff) if isinstance(tiff, bytes) else tiff
    with Image.open(file, formats=["TIFF"]) as image:
        return ExifTags.Base.Orientation in getattr(image, "tag_v2", {})


def upright_rgb(image: Any, orientation: int) -> tuple[Any, bytes | None]:
    """An opened image turned upright, in gray or RGB with or without alpha; and its ICC profile.

    Other colour spaces become sRGB, by their profile where there is one.
    """
    icc = field(image, "icc-profile-data")
    if orientation != 1:
        image = image.copy()
        image.set_type(require("turning images").GValue.gint_type, "orientation", orientation)
        image = image.autorot()
    if image.interpretation in ("cmyk", "lab", "labs", "xyz", "hsv"):
        depth = 16 if image.format == "ushort" else 8
        if icc is not None:
            image = image.icc_transform("srgb", embedded=True, depth=depth)
        else:
            image = image.colourspace("rgb16" if depth == 16 else "srgb")
        icc = None
    return image, icc


def through(image: Any, table: bytes) -> Any:
    """Gray of 8 bits, with or without alpha, taken through a table of 256 values."""
    curve = require("colour profiles").Image.new_from_memory(table, 256, 1, 1, "uchar")
    gray = image[0].maplut(curve)
    return gray if image.bands == 1 else gray.bandjoin(image[1])


def _with_metadata(image: Any, fields: Metadata) -> Any:
    names = ("grey16", "rgb16") if image.format == "ushort" else ("b-w", "srgb")
    name = names[image.bands >= 3]
    x, y = fields.density or (1.0, 1.0)
    image = image.copy(interpretation=name, xres=x / _MM_PER_INCH, yres=y / _MM_PER_INCH)
    pyvips = require("metadata")
    blobs = {
        "icc-profile-data": fields.icc,
        "exif-data": fields.exif,
        "xmp-data": fields.xmp,
    }
    for key, value in blobs.items():
        if value is not None:
            image.set_type(pyvips.GValue.blob_type, key, value)
    return image
