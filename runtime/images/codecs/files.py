"""Image files → upright pixels with their colour profile, EXIF, XMP and density.

Colour of 16 bits a channel, which Pillow reads as 8, goes through libvips
(`runtime.images.codecs.sixteen_bit`). What is read is written by `runtime.images.codecs.formats`.
"""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from runtime.errors import FileError, HcflowError, ImageError, SizeError, one_line
from runtime.images.codecs import (
    heic,
    notices,
    opening,
    signature,
    sixteen_bit,
    size_limits,
    tiff_samples,
)
from runtime.images.codecs.bounds import structure, whole_file
from runtime.images.codecs.completeness import decoded
from runtime.images.codecs.formats import FORMATS, Photo
from runtime.images.codecs.lossy import USUAL, Lossy, halves_chroma
from runtime.images.codecs.metadata import colour_profile, density, exif_xmp

MAX_PIXELS = 178_956_970
"""Default limit of an input: the size that Pillow's own limit, which is lifted, would refuse."""

# Only formats decoded in process: EPS, for one, would start another program.
READ = (*FORMATS, "TGA", heic.FORMAT)
"""Names of the formats that `decode` reads, where this Pillow was built with them."""

_START = 12  # bytes that tell formats apart
_COMMON = (b"\x89PNG", b"\xff\xd8\xff")  # how PNG and JPEG begin, which `Image.preinit` loads

_logger = logging.getLogger(__name__)


def read(
    path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS, *, salvage: bool = False
) -> Photo:
    """Read an image file; see `decode`.

    Raises:
        FileError: there is no such file, or it cannot be read.
        ImageError: as `decode`.
    """
    try:
        with Path(path).open("rb") as file:
            data = read_open(file, f"'{path}'", max_pixels)
    except FileNotFoundError:
        raise FileError(f"'{path}': there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no system takes
        reason = getattr(error, "strerror", None) or one_line(error)
        raise FileError(f"cannot read '{path}': {reason}") from error
    return decode(data, f"'{path}'", max_pixels, salvage=salvage)


def read_open(file: IO[bytes], where: str, max_pixels: int = MAX_PIXELS) -> bytes:
    """The bytes of an open file or pipe, up to `bounds.whole_file`'s limits.

    Raises:
        ImageError: it is no image, or beyond a limit.
    """

    def check_header(start: IO[bytes]) -> None:
        with notices.about(None):  # `decode` tells them
            open_header(start, where, max_pixels)

    return whole_file.read(file, where, max_pixels, check_header)


def decode(
    data: bytes, where: str, max_pixels: int = MAX_PIXELS, *, salvage: bool = False
) -> Photo:
    """An image from the bytes of a file; an animation gives its first frame and logs a warning.

    CMYK becomes RGB (by its profile where there is one); EXIF orientation is applied; colour of
    more than 8 bits gives an array uint16 (`runtime.images.codecs.sixteen_bit`).

    Args:
        data: the file's bytes.
        where: names it in errors.
        max_pixels: a file whose header states more is refused before it is decoded.
        salvage: read what is there of a file that lacks rows, with a warning.

    Raises:
        ImageError: not an image, damaged, too large, or 16-bit colour without libvips.
    """
    with notices.about(where):
        opened = open_header(io.BytesIO(data), where, max_pixels)
        if (frames := frame_count(opened, where)) > 1:
            which = "main one" if opened.format == heic.FORMAT else "first"
            _logger.warning("%s has %d frames: the %s is used", where, frames, which)
        return _decoded(opened, data, where, salvage)


@size_limits.any_size()
def frame_count(opened: ImageFile.ImageFile, where: str) -> int:
    """How many frames or pages a file has.

    Raises:
        ImageError: damaged.
    """
    try:
        return int(getattr(opened, "n_frames", 1))
    except Exception as error:  # decoders of damaged files raise all kinds
        raise ImageError(notices.failure(where, one_line(error))) from error


def first_frame(data: bytes, where: str, *, salvage: bool = False) -> Photo:
    """`decode` without the warning of an animation."""
    with notices.about(where):
        return _decoded(open_header(io.BytesIO(data), where), data, where, salvage)


@size_limits.any_size()
def _decoded(opened: ImageFile.ImageFile, data: bytes, where: str, salvage: bool) -> Photo:
    try:
        return _photo(opened, data, where, salvage)
    except HcflowError:
        raise
    except Exception as error:  # decoders of damaged files raise all kinds
        raise ImageError(notices.failure(where, one_line(error))) from error


@size_limits.any_size()
def open_header(file: IO[bytes], where: str, max_pixels: int = MAX_PIXELS) -> ImageFile.ImageFile:
    """An image of which only the header is read.

    Raises:
        ImageError: not an image, larger than `max_pixels`, or beyond `bounds.structure`'s limits.
    """
    start = file.read(_START)
    file.seek(0)
    if not start:
        raise ImageError(f"{where} is empty")
    structure.check(file, where)
    Image.preinit()
    if heic.begins(start):
        heic.find()
    if not start.startswith(_COMMON):  # all plugins take longer to load than a small image
        Image.init()
    try:
        opened = opening.open_image(file, _readable())
    except UnidentifiedImageError:
        Image.init()
        raise ImageError(signature.refusal(file, where, ", ".join(_readable()))) from None
    except Exception as error:  # decoders of damaged files raise all kinds
        raise ImageError(notices.failure(where, one_line(error))) from error
    structure.check_sides(opened.width, opened.height, where)
    if opened.width * opened.height > max_pixels:
        raise SizeError(
            f"{where} has {opened.width}×{opened.height} pixels, the limit is {max_pixels}: "
            "raise --max-pixels (max_pixels) if you trust it"
        )
    return opened


def _readable() -> list[str]:
    """Those of `READ` that this Pillow was built with and whose plugins are loaded."""
    return [name for name in READ if name in Image.OPEN]


def _photo(opened: ImageFile.ImageFile, data: bytes, where: str, salvage: bool) -> Photo:
    if not salvage:
        decoded.check_header(opened, data, len(data), where)
    if opened.format == "TIFF":
        tiff_samples.check(opened, where)
    opening.tell_of_pictures(opened)
    if heic.depth(opened) > 8:
        heic.warn_of_curve(opened, where)
        exif, xmp = exif_xmp.portable_exif(opened), exif_xmp.xmp_of(opened)
        dots = density.of(opened, exif)
        return Photo(heic.decode(data), colour_profile.of(opened), exif, xmp, dots)
    if sixteen_bit.needs_vips(opened, data):
        array, orientation, fields = sixteen_bit.decode(opened, data, where, salvage=salvage)
        fields["icc"] = colour_profile.sound(fields["icc"])
        if opened.format == "TIFF":
            fields["exif"] = exif_xmp.portable_exif(opened)
        else:
            fields["exif"] = exif_xmp.upright_exif(fields["exif"])
        # Gray without alpha: Pillow has a mode for it, and writes formats that libvips does not.
        shade = Image.fromarray(array[..., 0]) if array.shape[2] == 1 else None
        dots = density.of(opened, fields["exif"], orientation)
        return Photo(array if shade is None else shade, **fields, density=dots, lossy=USUAL)
    # Pillow turns a TIFF while it loads it.
    orientation = exif_xmp.orientation(opened) if opened.format == "TIFF" else 1
    decoded.load(opened, data, where, salvage=salvage)
    if opened.format != "TIFF":
        orientation = exif_xmp.orientation(opened)
    # The parsed EXIF stays: rotating the image, Pillow would write it again, which can fail.
    for block in ("exif", "Raw profile type exif"):
        opened.info.pop(block, None)
    image: Image.Image = ImageOps.exif_transpose(opened)
    exif = exif_xmp.portable_exif(opened)
    icc = colour_profile.of(opened)
    if image.mode == "La":  # gray multiplied by alpha
        image = image.convert("LA")
    if image.mode == "F":
        _check_floats(image, where)
    if image.mode == "CMYK":
        image, icc = _cmyk_to_rgb(image, icc, where), None
    image = sixteen_bit.over_sixteen_bits(image, opened)
    dots = density.of(opened, exif, orientation)
    lossy = Lossy(halves_chroma=halves_chroma(opened))
    return Photo(image, icc, exif, exif_xmp.xmp_of(opened), dots, lossy)


def _check_floats(image: Image.Image, where: str) -> None:
    values = np.asarray(image)
    if not (values.min() >= 0 and values.max() <= 1):  # NaN is neither
        raise ImageError(
            f"{where} has float samples from {values.min():g} to {values.max():g}, of which 1 need "
            f"not be white: {signature.FLOATS}"
        )


def _cmyk_to_rgb(image: Image.Image, icc: bytes | None, where: str) -> Image.Image:
    if icc is not None:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError) as error:
            _logger.warning("%s: its colour profile is not used: %s", where, one_line(error))
    return image.convert("RGB")
