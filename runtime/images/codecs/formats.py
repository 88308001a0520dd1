"""An image with its metadata, and the formats that it is written in.

Nothing is lost in silence: a format that would drop alpha or bits is refused. Colour of 16 bits a
channel, which Pillow does not write, goes through libvips (`runtime.images.codecs.sixteen_bit`).
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from runtime.errors import ImageError
from runtime.images.codecs import notices, sixteen_bit, vips
from runtime.images.codecs.lossy import USUAL, Lossy
from runtime.images.codecs.metadata import colour_profile, density, exif_xmp
from runtime.images.pixels import arrays, palette
from runtime.system import atomic

# Formats written → the modes they hold without loss of channels or bits.
_SIXTEEN_BIT = tuple(sixteen_bit.MODES.values())
_MODES = {
    "PNG": ("L", "LA", "RGB", "RGBA", "I;16", *_SIXTEEN_BIT),
    "TIFF": ("L", "LA", "RGB", "RGBA", "I;16", "F", *_SIXTEEN_BIT[1:]),  # Pillow opens no LA;16
    "JPEG": ("L", "RGB"),
    "WEBP": ("RGB", "RGBA"),
    "AVIF": ("L", "RGB", "RGBA"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA", "I;16"),
    "BMP": ("L", "RGB"),
    "PPM": ("L", "RGB", "I;16"),
    "GIF": ("L", "LA", "RGB", "RGBA"),  # of which it loses colours, and says so
}
FORMATS = tuple(_MODES)
"""Names of the formats that `encode` writes."""

_PROMOTED = {"L": "RGB", "LA": "RGBA", "I": "I;16"}
_COLOURS = 3
_MARKER_LIMIT = 65_000  # EXIF and XMP of a JPEG have one segment of 64 KiB each


@dataclass(frozen=True)
class Photo:
    """An upright image and its metadata: ICC profile, EXIF without orientation, XMP, density.

    Colour of 16 bits is an array uint16 [H, W, C]: Pillow has no such image.
    """

    image: Image.Image | NDArray[Any]
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    density: density.Density | None = None
    lossy: Lossy = USUAL

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        if isinstance(self.image, Image.Image):
            return self.image.size
        return self.image.shape[1], self.image.shape[0]

    @property
    def is_gray(self) -> bool:
        """Whether it has one channel of colour."""
        if isinstance(self.image, Image.Image):
            return Image.getmodebase(self.image.mode) == "L"
        return int(self.image.shape[2]) < _COLOURS

    @property
    def result_mode(self) -> str:
        """The mode of a model's result for the image (for `check_mode`)."""
        if isinstance(self.image, Image.Image):
            return arrays.result_mode(self.image)
        return sixteen_bit.mode(self.image)


def format_of(path: str | os.PathLike[str]) -> str:
    """The format of a file name's suffix.

    Raises:
        ImageError: the suffix is not of a format in `FORMATS`.
    """
    suffix = Path(path).suffix.lower()
    known = Image.EXTENSION
    Image.preinit()
    if suffix not in known:  # all of Pillow's plugins take longer to load than a small image
        Image.init()
    if known.get(suffix) not in FORMATS:
        usual = ".png .tif .jpg .webp .avif .jp2 .bmp .ppm"
        raise ImageError(f"'{path}': unknown image suffix '{suffix}'; known are {usual}")
    return known[suffix]


def check_mode(mode: str, format_name: str) -> str:
    """The mode in which a format holds an image of `mode` without loss.

    Args:
        mode: Pillow's, or of `sixteen_bit.MODES`.
        format_name: of `FORMATS`.

    Raises:
        ImageError: there is none; the message names what would be lost.
    """
    modes = _MODES[format_name]
    for candidate in (mode, _PROMOTED.get(mode)):
        if candidate in modes:
            return candidate
    lost = {"LA": "alpha", "RGBA": "alpha", "F": "32-bit floats"}.get(mode, "16 bits")
    raise ImageError(f"{format_name} cannot hold {lost}: write {'TIFF' if mode == 'F' else 'PNG'}")


def encode(photo: Photo, format_name: str) -> bytes:
    """The bytes of an image file, with profile, EXIF, XMP and density where it can hold them.

    As `photo.lossy` says: JPEG at quality 95 and AVIF at 90 where it states none, the others
    lossless.
    Pixel dimensions in EXIF and XMP are set to the image's.

    Raises:
        ImageError: the format cannot hold the image (`check_mode`), or its size.
        BackendError: 16-bit colour without libvips.
    """
    if not isinstance(photo.image, Image.Image):
        check_mode(sixteen_bit.mode(photo.image), format_name)
        icc, _ = colour_profile.for_format(photo.icc, format_name, is_gray=photo.is_gray)
        fields = vips.Metadata(icc, *_sized(photo, format_name), photo.density)
        options = photo.lossy.vips(format_name)
        return sixteen_bit.encode(photo.image, format_name, fields, **options)
    mode = check_mode(photo.image.mode, format_name)
    image = photo.image
    icc, table = colour_profile.for_format(photo.icc, format_name, is_gray=photo.is_gray)
    if table is not None:
        image = colour_profile.through(image, table)
    if mode != image.mode:
        image = image.convert(mode)
    if format_name == "GIF":
        image = palette.reduced(image)
    buffer = io.BytesIO()
    try:
        image.save(buffer, format_name, **save_options(replace(photo, icc=icc), format_name))
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot write this image as {format_name}: {error}") from error
    return buffer.getvalue()


def _sized(photo: Photo, format_name: str) -> tuple[bytes | None, bytes | None]:
    """EXIF and XMP with the image's size and density."""
    exif = exif_xmp.sized_exif(photo.exif, *photo.size)
    exif = density.in_exif(exif, photo.density, format_name)
    return exif, exif_xmp.sized_xmp(photo.xmp, *photo.size)


def save_options(photo: Photo, format_name: str) -> dict[str, Any]:
    """Keywords of Pillow's `save` for a format: its settings, and the image's metadata."""
    exif, xmp = _sized(photo, format_name)
    options: dict[str, Any] = photo.lossy.pillow(format_name)
    colour_profile.tell_of_size(photo.icc, format_name)
    if format_name != "PPM":
        # Given even when empty: else Pillow writes what the image was read with.
        options["icc_profile"] = photo.icc or b""
    if format_name == "JPEG":
        options["comment"] = b""  # else the image's own, if any
        exif, xmp = (_that_fits(name, x) for name, x in (("EXIF", exif), ("XMP", xmp)))
    if format_name == "TIFF":
        options["exif"] = exif_xmp.tiff_tags(exif, xmp)
        options["compression"] = "tiff_adobe_deflate"
    elif format_name in ("PNG", "JPEG", "WEBP", "AVIF"):
        options["exif"] = exif or b""  # even when empty, as above
        if format_name != "PNG":
            options["xmp"] = xmp or b""
        elif xmp is not None:
            options["pnginfo"] = PngImagePlugin.PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    return options | density.save_options(photo.density, format_name)


def _that_fits(name: str, data: bytes | None) -> bytes | None:
    if data is not None and len(data) > _MARKER_LIMIT:
        notices.add(f"{name} of {len(data)} bytes is left out: a JPEG holds 64 KiB of it")
        return None
    return data


def write(photo: Photo, path: str | os.PathLike[str], format_name: str | None = None) -> None:
    """Write an image file, whole or not at all; without `format_name` in the suffix's format.

    Raises:
        ImageError: as `format_of` and `encode`.
        OSError: the disk is full, the folder missing or not writable.
    """
    atomic.write(path, encode(photo, format_name or format_of(path)))
