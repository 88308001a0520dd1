"""The colour profile (ICC) of an image: which one is kept, and what a format makes of it."""

from __future__ import annotations

import io

from PIL import Image, ImageCms

from runtime.errors import one_line
from runtime.images.codecs import notices

MOST_BYTES = 255 * 65_519
"""Bytes of a profile that is kept: what the segments of a JPEG hold, the least of all formats."""

_SIZE, _COLOURS, _MARK = slice(0, 4), slice(16, 20), slice(36, 40)  # of its header (ISO 15076-1)
_HOLDING = ("PNG", "TIFF", "JPEG", "WEBP", "AVIF")  # a profile
_AS_RGB = ("WEBP", "AVIF")  # of which gray is read as RGB, to which its profile means nothing
_MOST_OF_PILLOW = 1 << 20  # bytes of a PNG's profile that it reads, where its limit is not lifted


def of(opened: Image.Image) -> bytes | None:
    """The profile of an opened file; None where it has none, or with a warning none that counts."""
    return sound(opened.info.get("icc_profile"))


def sound(profile: object) -> bytes | None:
    """A profile as a decoder gives it; None, with a warning, where it is no bytes or too many."""
    if profile is None or profile == b"":
        return None
    if not isinstance(profile, bytes):  # the tag of a TIFF can be of any type
        notices.add("damaged colour profile is left out: it is no sequence of bytes")
        return None
    if len(profile) > MOST_BYTES:
        notices.add(
            f"colour profile of {len(profile)} bytes is left out: the limit is {MOST_BYTES}"
        )
        return None
    return profile


def for_format(
    profile: bytes | None, format_name: str, *, is_gray: bool
) -> tuple[bytes | None, bytes | None]:
    """The profile that a file gets; and the table that gray pixels have to be taken through first.

    Where a profile of gray meets a file of RGB it would mean nothing: gray becomes sRGB by it, as
    CMYK does, and RGB loses it with a warning.

    Args:
        profile: of the image.
        format_name: of the file.
        is_gray: whether the image is of gray, with or without alpha.

    Returns:
        Profile or None; and sRGB's value for each of the 256 values of gray, or None.
    """
    if profile is None or profile[_COLOURS] != b"GRAY" or format_name not in _HOLDING:
        return profile, None
    if not is_gray:
        notices.add("colour profile of gray is left out: the result is RGB")
        return None, None
    if format_name not in _AS_RGB:
        return profile, None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
        target, flags = ImageCms.createProfile("sRGB"), ImageCms.Flags.NOOPTIMIZE  # else too coarse
        shown = ImageCms.profileToProfile(ramp, source, target, outputMode="RGB", flags=flags)
    except (ImageCms.PyCMSError, OSError) as error:
        notices.add(f"colour profile of gray is left out, {format_name} is RGB: {one_line(error)}")
        return None, None
    return None, None if shown is None else shown.getchannel("G").tobytes()


def through(image: Image.Image, table: bytes) -> Image.Image:
    """Gray of 8 bits, with or without alpha, taken through a table of 256 values."""
    return image.point([*table, *(range(256) if image.mode == "LA" else ())])


def tell_of_size(profile: bytes | None, format_name: str) -> None:
    """Warn of a PNG that other programs will not open for the size of its profile."""
    if profile is not None and format_name == "PNG" and len(profile) > _MOST_OF_PILLOW:
        notices.add(
            f"the result keeps its colour profile of {len(profile)} bytes, and programs that use "
            f"Pillow open no PNG with more than {_MOST_OF_PILLOW}: write TIFF or JPEG for them"
        )


def exact(profile: bytes | None) -> bytes | None:
    """A profile of the size that its header states; None, with a warning, where it is damaged.

    libvips writes no PNG with another size, and drops what is no profile without a word.
    """
    if profile is None:
        return None
    size = int.from_bytes(profile[_SIZE], "big")
    if profile[_MARK] != b"acsp" or size > len(profile):
        notices.add("damaged colour profile is left out of the result")
        return None
    return profile[:size]
