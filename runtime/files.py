"""Image files ↔ Pillow images, upright, with their colour profile and EXIF, and no bit lost unseen.

What cannot be kept is refused: a format that would drop alpha or bits, and colour of 16 bits a
channel, which Pillow reads as 8.
"""

from __future__ import annotations

import io
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps, UnidentifiedImageError

from runtime import atomic
from runtime.errors import ImageError

MAX_PIXELS = 178_956_970
"""Default limit of an input: twice Pillow's warning level, where Pillow itself refuses."""

# Formats written → the modes they hold without loss of channels or bits.
_MODES = {
    "PNG": ("L", "LA", "RGB", "RGBA", "I;16"),
    "TIFF": ("L", "LA", "RGB", "RGBA", "I;16", "F"),
    "JPEG": ("L", "RGB"),
    "WEBP": ("RGB", "RGBA"),
    "AVIF": ("L", "RGB", "RGBA"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA", "I;16"),
    "BMP": ("L", "RGB"),
    "PPM": ("L", "RGB", "I;16"),
}
FORMATS = tuple(_MODES)
"""Names of the formats `encode` writes."""

# Only formats decoded in process: EPS, for one, would start another program.
_READ = (*FORMATS, "GIF", "TGA")
_PROMOTED = {"L": "RGB", "LA": "RGBA", "I": "I;16"}
_OPTIONS: dict[str, dict[str, object]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 90},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photo:
    """An upright image and what travels with it: ICC profile and EXIF, without orientation."""

    image: Image.Image
    icc: bytes | None = None
    exif: bytes | None = None


def read(path: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> Photo:
    """Read an image file; see `decode`.

    Raises:
        ImageError: no such file, or nothing that `decode` takes.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise ImageError(f"'{path}': there is no such file") from None
    except OSError as error:
        raise ImageError(f"cannot read '{path}': {error.strerror}") from error
    return decode(data, f"'{path}'", max_pixels)


def decode(data: bytes, where: str, max_pixels: int = MAX_PIXELS) -> Photo:
    """An image from the bytes of a file; of an animation the first frame, with a warning logged.

    CMYK becomes RGB (by its profile where there is one); EXIF orientation is applied.

    Args:
        data: the file's bytes.
        where: names it in errors.
        max_pixels: a header that promises more is refused before anything is decoded.

    Raises:
        ImageError: no image, damaged, too large, or colour of 16 bits a channel.
    """
    if not data:
        raise ImageError(f"{where} is empty")
    Image.init()
    readable = [name for name in _READ if name in Image.OPEN]  # as this Pillow was built
    try:
        opened = Image.open(io.BytesIO(data), formats=readable)
    except UnidentifiedImageError:
        raise ImageError(
            f"{where} is not an image this program reads ({', '.join(readable)})"
        ) from None
    except Image.DecompressionBombError as error:
        raise ImageError(f"{where}: {error} (PIL.Image.MAX_IMAGE_PIXELS is the limit)") from error
    except Exception as error:  # decoders of damaged files raise all kinds
        raise ImageError(f"{where} is damaged: {_one_line(error)}") from error
    if opened.width * opened.height > max_pixels:
        raise ImageError(
            f"{where} has {opened.width}×{opened.height} pixels, the limit is {max_pixels}: "
            "raise --max-pixels (max_pixels) if you trust it"
        )
    if _drops_bits(opened):
        raise ImageError(
            f"{where} has 16 bits a channel in colour, of which Pillow would read 8: convert it "
            "to 8 bits (magick IN -depth 8 OUT), or pass a uint16 array to the Python API"
        )
    if getattr(opened, "n_frames", 1) > 1:
        _logger.warning(
            "%s has %d frames: the first is used", where, getattr(opened, "n_frames", 1)
        )
    # A TIFF's "EXIF" is the whole directory of that file: it fits no other.
    keeps_exif = opened.format != "TIFF"
    try:
        opened.load()
        image: Image.Image = ImageOps.exif_transpose(opened)
        exif = image.getexif()
        exif.pop(ExifTags.Base.Orientation, None)
        icc = image.info.get("icc_profile")
        if image.mode == "CMYK":
            image, icc = _cmyk_to_rgb(image, icc, where), None
        return Photo(image, icc, exif.tobytes() if exif and keeps_exif else None)
    except Exception as error:  # decoders of damaged files raise all kinds
        raise ImageError(f"{where} is damaged: {_one_line(error)}") from error


def format_of(path: str | os.PathLike[str]) -> str:
    """The format a file name's suffix asks for.

    Raises:
        ImageError: a suffix of no format in `FORMATS`.
    """
    suffix = Path(path).suffix.lower()
    known = Image.registered_extensions()
    if known.get(suffix) not in FORMATS:
        usual = ".png .tif .jpg .webp .avif .jp2 .bmp .ppm"
        raise ImageError(f"'{path}': unknown image suffix '{suffix}'; known are {usual}")
    return known[suffix]


def check_mode(mode: str, format_name: str) -> str:
    """The Pillow mode in which a format can hold an image of `mode` without loss.

    Raises:
        ImageError: there is none; the message names what would be lost.
    """
    modes = _MODES[format_name]
    for candidate in (mode, _PROMOTED.get(mode)):
        if candidate in modes:
            return candidate
    lost = "alpha" if mode.endswith("A") else "32-bit floats" if mode == "F" else "16 bits"
    raise ImageError(f"{format_name} cannot hold {lost}: write {'TIFF' if mode == 'F' else 'PNG'}")


def encode(photo: Photo, format_name: str) -> bytes:
    """The bytes of an image file, with profile and EXIF where the format has a place for them.

    JPEG is written at quality 95 without chroma subsampling, AVIF at 90; the others are lossless.

    Raises:
        ImageError: the format cannot hold the image (`check_mode`), or its size.
    """
    mode = check_mode(photo.image.mode, format_name)
    image = photo.image if mode == photo.image.mode else photo.image.convert(mode)
    options = dict(_OPTIONS.get(format_name, {}))
    if photo.icc is not None and format_name != "PPM":
        options["icc_profile"] = photo.icc
    if photo.exif is not None and format_name in ("PNG", "JPEG", "WEBP", "AVIF"):
        options["exif"] = photo.exif
    buffer = io.BytesIO()
    try:
        image.save(buffer, format_name, **options)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot write this image as {format_name}: {error}") from error
    return buffer.getvalue()


def write(photo: Photo, path: str | os.PathLike[str], format_name: str | None = None) -> None:
    """Write an image file, whole or not at all; the format by the suffix unless given.

    Raises:
        ImageError: as `format_of` and `encode`.
        OSError: the disk is full, the folder missing or not writable.
    """
    atomic.write(path, encode(photo, format_name or format_of(path)))


def _drops_bits(image: ImageFile.ImageFile) -> bool:
    """Whether Pillow's decoder would cut 16-bit colour to 8: seen in the raw mode it is told."""
    if image.mode not in ("RGB", "RGBA", "LA", "CMYK") or not image.tile:
        return False
    args = image.tile[0].args
    args = args if isinstance(args, tuple) else (args,)
    if image.tile[0].codec_name == "ppm":
        return bool(args[1] > 0xFF)
    return any(isinstance(arg, str) and ";16" in arg for arg in args)


def _cmyk_to_rgb(image: Image.Image, icc: bytes | None, where: str) -> Image.Image:
    if icc is not None:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError) as error:
            _logger.warning("%s: its colour profile is not used: %s", where, _one_line(error))
    return image.convert("RGB")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
