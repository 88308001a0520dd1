"""The colour profile (ICC) of an image: which one is kept, and what a format makes of it."""

from __future__ import annotations

from PIL import Image

from runtime.images.codecs import notices

MOST_BYTES = 255 * 65_519
"""Bytes of a profile that is kept: what the segments of a JPEG hold, the least of all formats."""

_SIZE, _MARK = slice(0, 4), slice(36, 40)  # of a profile's header (ISO 15076-1, 7.2)
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
