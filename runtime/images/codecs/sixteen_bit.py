"""Colour of more than 8 bits a channel: detected where Pillow would cut it, read and written whole.

Pillow has no such mode; an array uint16 [H, W, C] takes the place of its image. libvips reads and
writes the files (`runtime.images.codecs.vips`).
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from runtime.errors import ImageError, one_line
from runtime.images.codecs import tiff_samples, vips
from runtime.images.codecs.completeness import decoded, streamed

Array = NDArray[np.uint16]

MODES = {2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}
"""Channels → name of the mode, as in `files`."""
READ = ("PNG", "TIFF", "AVIF")

_BITS, _PHOTOMETRIC = 258, 262  # a TIFF's tags: bits a channel, and what their values mean
_HEADER = 1 << 20  # AVIF properties and JPEG 2000 sizes stand before the pixels, well within this

_logger = logging.getLogger(__name__)


def needs_vips(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether Pillow would read this file wrong.

    It drops bits of 16-bit colour in PNG, TIFF and PPM, and in AVIF and JPEG 2000; and it takes
    16-bit gray with alpha, or white at 0 in a TIFF, for something else.

    Args:
        image: as opened, before its pixels are loaded.
        data: the file's bytes.
    """
    if image.format == "AVIF":
        return _avif_depth(data[:_HEADER]) > 8
    if image.mode.startswith("I;16"):
        # Pillow has no 16-bit gray with alpha, and does not invert a TIFF whose white is 0.
        return "transparency" in image.info or _tag(image, _PHOTOMETRIC, None) == 0
    has_colour = image.mode in ("RGB", "RGBA", "LA", "CMYK", "YCbCr")
    if not has_colour or not image.tile or image.format == "BMP":  # 16 bits a pixel, not a channel
        return False
    if image.format == "JPEG2000":
        return _jpeg2000_depth(data[:_HEADER]) > 8
    args = image.tile[0].args
    args = args if isinstance(args, tuple) else (args,)
    if image.tile[0].codec_name in ("ppm", "ppm_plain"):
        return bool(args[1] > 0xFF)
    # Pillow's raw mode does not tell the bits of a TIFF whose channels are planes: the tag does.
    is_16 = any(isinstance(arg, str) and ";16" in arg for arg in args)
    return is_16 or bool(max(_tag(image, _BITS, (8,))) > 8)


def over_sixteen_bits(image: Image.Image, opened: ImageFile.ImageFile) -> Image.Image:
    """12-bit gray of a TIFF, which Pillow gives as 0 to 4095, scaled to 0 to 65535; else the image.

    Args:
        image: made from `opened`.
        opened: the file as it was opened.
    """
    top = (1 << max(_tag(opened, _BITS, (16,)))) - 1
    if opened.mode != "I;16" or top >= 0xFFFF:
        return image
    values = np.asarray(image).astype(np.uint32)
    return Image.fromarray(((values * 0xFFFF + top // 2) // top).astype(np.uint16))


def decode(
    opened: ImageFile.ImageFile, data: bytes, where: str, *, salvage: bool = False
) -> tuple[Array, int, dict[str, bytes | None]]:
    """Pixels uint16 [H, W, C], upright, the orientation that the file states, and its metadata.

    Its metadata are `icc`, `exif` and `xmp`.

    For a TIFF without `exif`, which libvips leaves in the directory (`exif_xmp.portable_exif`).
    10 and 12 bits are scaled to 16; CMYK becomes sRGB.

    Raises:
        ImageError: no pyvips, a format it does not read, or a damaged file.
        TemporaryFolderError: it takes no large image.
    """
    format_name = str(opened.format)
    if format_name not in READ:
        raise ImageError(
            f"{where} has more than 8 bits a channel in colour, which cannot be read from "
            f"{format_name}: convert it to a 16-bit PNG (magick IN OUT.png)"
        )
    if vips.find() is None:
        raise ImageError(
            f"{where} has more than 8 bits a channel in colour, or in gray that is white at 0, and "
            "Pillow would read it wrong: pip install 'hcflow-deploy[large]', convert it to 8 bits "
            "(magick IN -depth 8 OUT), or pass a uint16 array to the Python API"
        )
    if tiff_samples.planes_in_tiles(opened):
        raise ImageError(
            f"{where} has a plane of tiles for each channel of 16 bits, which libvips does not "
            "read: store its channels together (magick IN -interlace none OUT)"
        )
    pyvips = vips.require("16-bit colour")
    try:
        image = vips.load(data, format_name, salvage=salvage)
        height = image.height
        if format_name == "TIFF":
            image = tiff_samples.without_extra(image, opened)
        orientation = vips.orientation(image, data, format_name)
        image, icc = vips.upright_rgb(image, orientation)
        if image.format != "ushort":
            raise ImageError(f"{where}: colour of type '{image.format}' is not supported: use uint")
        pixels: Array = np.asarray(image.numpy(), np.uint16)
    except pyvips.Error as error:
        vips.check_temporary(error)
        rows = min(streamed.rows_there(data, format_name), height)
        raise ImageError(decoded.told(where, rows, height, one_line(error))) from error
    if salvage and (rows := streamed.rows_there(data, format_name)) < height:
        _logger.warning("%s", decoded.told(where, rows, height, salvaged=True))
    fields = {"exif": vips.field(image, "exif-data"), "xmp": vips.field(image, "xmp-data")}
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return pixels, orientation, {"icc": icc, **fields}


def encode(pixels: Array, format_name: str, fields: vips.Metadata, **options: Any) -> bytes:
    """The bytes of a PNG or TIFF with 16 bits a channel, with options of libvips's writer.

    Raises:
        BackendError: no pyvips.
        ImageError: libvips cannot write this image.
    """
    pyvips = vips.require("writing 16-bit colour")
    try:
        made = pyvips.Image.new_from_array(pixels)
        data: bytes = vips.save(made, format_name, fields, **options)
    except pyvips.Error as error:
        raise ImageError(f"cannot write this image as {format_name}: {one_line(error)}") from error
    return data


def _tag(image: ImageFile.ImageFile, number: int, default: Any) -> Any:
    """The value of a TIFF tag; `default` where it is missing, or the file is not a TIFF."""
    return getattr(image, "tag_v2", {}).get(number, default)


def _avif_depth(header: bytes) -> int:
    """The largest depth in the `av1C` boxes of a file (AV1 codec ISO media file format, 2.3.3)."""
    depth, at = 8, header.find(b"av1C")
    while at >= 0:
        flags = header[at + 6] if at + 6 < len(header) else 0
        if flags & 0x40:
            depth = max(depth, 12 if flags & 0x20 else 10)
        at = header.find(b"av1C", at + 4)
    return depth


def _jpeg2000_depth(header: bytes) -> int:
    """The largest component depth in a codestream's SIZ marker (ISO 15444-1, A.5.1)."""
    start = header.find(b"\xff\x4f\xff\x51")
    if start < 0:
        return 8
    count = int.from_bytes(header[start + 40 : start + 42], "big")
    depths = header[start + 42 : start + 42 + 3 * count : 3]
    return max(((d & 0x7F) + 1 for d in depths), default=8)


def mode(pixels: NDArray[Any]) -> str:
    """The name of the mode of a uint16 array; a single channel is Pillow's `I;16`."""
    return MODES.get(pixels.shape[-1], "I;16")
