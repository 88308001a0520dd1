"""The colour profile (ICC) of an image: which one is kept."""

from __future__ import annotations

from PIL import Image

from runtime.images.codecs import notices

MOST_BYTES = 255 * 65_519
"""Bytes of a profile that is kept: what the segments of a JPEG hold, the least of all formats."""


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
