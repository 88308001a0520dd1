"""Image files ↔ upright pixels with their colour profile, EXIF, XMP and density.

Nothing is lost in silence: a format that would drop alpha or bits is refused. Colour of 16 bits a
channel, which Pillow reads as 8, goes through libvips (`runtime.images.codecs.sixteen_bit`).
"""

from __future__ import annotations

import io
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageFile, ImageOps, PngImagePlugin, UnidentifiedImageError

from runtime.errors import FileError, HcflowError, ImageError, SizeError, one_line
from runtime.images.codecs import (
    heic,
    notices,
    signature,
    sixteen_bit,
    size_limits,
    tiff_samples,
    vips,
)
from runtime.images.codecs.bounds import structure, whole_file
from runtime.images.codecs.completeness import decoded
from runtime.images.codecs.lossy import USUAL, Lossy, halves_chroma
from runtime.images.codecs.metadata import density, exif_xmp
from runtime.images.pixels import arrays, palette
from runtime.system import atomic

MAX_PIXELS = 178_956_970
"""Default limit of an input: the size that Pillow's own limit, which is lifted, would refuse."""

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

# Only formats decoded in process: EPS, for one, would start another program.
READ = (*FORMATS, "TGA", heic.FORMAT)
"""Names of the formats that `decode` reads, where this Pillow was built with them."""
_PROMOTED = {"L": "RGB", "LA": "RGBA", "I": "I;16"}
_MARKER_LIMIT = 65_000  # EXIF and XMP of a JPEG have one segment of 64 KiB each

_START = 12  # bytes that tell formats apart
_COMMON = (b"\x89PNG", b"\xff\xd8\xff")  # how PNG and JPEG begin, which `Image.preinit` loads

_logger = logging.getLogger(__name__)


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
    def result_mode(self) -> str:
        """The mode of a model's result for the image (for `check_mode`)."""
        if isinstance(self.image, Image.Image):
            return arrays.result_mode(self.image)
        return sixteen_bit.mode(self.image)


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
        opened = Image.open(file, formats=_readable())
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
    if heic.depth(opened) > 8:
        heic.warn_of_curve(opened, where)
        exif, xmp = exif_xmp.portable_exif(opened), exif_xmp.xmp_of(opened)
        dots = density.of(opened, exif)
        return Photo(heic.decode(data), opened.info.get("icc_profile"), exif, xmp, dots)
    if sixteen_bit.needs_vips(opened, data):
        array, orientation, fields = sixteen_bit.decode(opened, data, where, salvage=salvage)
        if opened.format == "TIFF":
            fields["exif"] = exif_xmp.sound_exif(lambda: exif_xmp.portable_exif(opened))
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
    icc = image.info.get("icc_profile")
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
        fields = vips.Metadata(photo.icc, *_sized(photo, format_name), photo.density)
        options = photo.lossy.vips(format_name)
        return sixteen_bit.encode(photo.image, format_name, fields, **options)
    mode = check_mode(photo.image.mode, format_name)
    image = photo.image if mode == photo.image.mode else photo.image.convert(mode)
    if format_name == "GIF":
        image = palette.reduced(image)
    buffer = io.BytesIO()
    try:
        image.save(buffer, format_name, **save_options(photo, format_name))
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
    if photo.icc is not None and format_name != "PPM":
        options["icc_profile"] = photo.icc
    if format_name == "JPEG":
        options["comment"] = b""  # else the image's own, if any
        exif, xmp = (_that_fits(name, x) for name, x in (("EXIF", exif), ("XMP", xmp)))
    if format_name == "TIFF":
        options["exif"] = exif_xmp.tiff_tags(exif, xmp)
        options["compression"] = "tiff_adobe_deflate"
    elif format_name in ("PNG", "JPEG", "WEBP", "AVIF"):
        # Given even when empty: else Pillow writes what the image was read with.
        options["exif"] = exif or b""
        if format_name != "PNG":
            options["xmp"] = xmp or b""
        elif xmp is not None:
            options["pnginfo"] = PngImagePlugin.PngInfo()
            options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    return options | density.save_options(photo.density, format_name)


def _that_fits(name: str, data: bytes | None) -> bytes | None:
    if data is not None and len(data) > _MARKER_LIMIT:
        _logger.warning("%s of %d bytes is left out: a JPEG holds 64 KiB of it", name, len(data))
        return None
    return data


def write(photo: Photo, path: str | os.PathLike[str], format_name: str | None = None) -> None:
    """Write an image file, whole or not at all; without `format_name` in the suffix's format.

    Raises:
        ImageError: as `format_of` and `encode`.
        OSError: the disk is full, the folder missing or not writable.
    """
    atomic.write(path, encode(photo, format_name or format_of(path)))


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
