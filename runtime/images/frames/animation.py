"""Animated GIF, WebP, PNG and AVIF files → upright whole frames, one at a time, and their timing.

A frame is what a viewer shows: Pillow composes it from the frames before it, so that what a file
says of disposal and blending has been done.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

from PIL import ExifTags, Image, ImageChops, ImageFile

from runtime.errors import ImageError, SizeError, one_line
from runtime.images.codecs import files, notices, sixteen_bit, size_limits
from runtime.images.codecs.formats import Photo
from runtime.images.codecs.metadata import exif_xmp

FORMATS = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats that hold animations."""

_logger = logging.getLogger(__name__)

_Turn = Image.Transpose
_TURNS = {
    2: _Turn.FLIP_LEFT_RIGHT,
    3: _Turn.ROTATE_180,
    4: _Turn.FLIP_TOP_BOTTOM,
    5: _Turn.TRANSPOSE,
    6: _Turn.ROTATE_270,
    7: _Turn.TRANSVERSE,
    8: _Turn.ROTATE_90,
}
"""EXIF's orientations → what makes a picture upright."""


@dataclass(frozen=True)
class Timing:
    """When frames are shown.

    Attributes:
        durations: of each frame in milliseconds, 0 where the file states none.
        plays: how often all of them are shown; 0 is for ever.
        has_poster: the first frame is no part of the animation: what a program shows that only
            knows still PNGs.
    """

    durations: tuple[float, ...]
    plays: int = 0
    has_poster: bool = False


@dataclass(frozen=True)
class Animation:
    """An animation whose frames are decoded as they are asked for.

    Attributes:
        data: the file's bytes.
        where: names it in errors.
        mode: of every frame: L, RGB, or RGBA where one is transparent somewhere.
        timing: one duration a frame.
        digests: of the frames' pixels, so that equal ones need not be computed twice.
        first: the first frame, with the file's ICC profile, EXIF and XMP.
    """

    data: bytes
    where: str
    mode: str
    timing: Timing
    digests: tuple[bytes, ...]
    first: Photo

    def frames(self) -> Iterator[Image.Image]:
        """Every frame in `mode`, upright.

        Raises:
            ImageError: damaged, or changed since it was read first.
        """
        for frame in _frames(self.data, self.where, len(self.digests)):
            yield frame.image.convert(self.mode)


def count(file: IO[bytes], where: str, max_pixels: int, *, salvage: bool = False) -> int:
    """How many frames an animation has by its file's header; 1 of any other file.

    Raises:
        ImageError: not an image, or larger than `max_pixels`, all its frames together; or damaged,
            and not to be salvaged.
    """
    opened = files.open_header(file, where, max_pixels)
    if opened.format not in FORMATS:
        return 1
    number = _count_found(opened) if salvage else files.frame_count(opened, where)
    if number == 1:
        return 1
    width, height = opened.size
    if number * width * height > max_pixels:
        raise SizeError(
            f"{where} has {number} frames of {width}×{height}, {number * width * height} pixels "
            f"in all, the limit is {max_pixels}: raise --max-pixels (max_pixels) if you trust it"
        )
    file.seek(0)
    # More than 8 bits a channel are read by libvips, which gives one frame.
    return 1 if sixteen_bit.needs_vips(opened, file.read()) else number


def _count_found(opened: ImageFile.ImageFile) -> int:
    """How many frames can be found before the file ends or is damaged."""
    number = 1
    with contextlib.suppress(Exception):  # decoders of damaged files raise all kinds
        while True:
            opened.seek(number)
            number += 1
    return number


def read(data: bytes, where: str, number: int, *, salvage: bool = False) -> Animation:
    """An animation of `number` frames (`count`), each decoded once for what `Animation` says.

    With `salvage` the frames before one that is damaged or missing are taken, with a warning.

    Raises:
        ImageError: damaged, or with fewer frames than its header states.
    """
    first = files.first_frame(data, where, salvage=salvage)
    modes, durations, digests = set[str](), [], []
    try:
        for frame in _frames(data, where, number):
            modes.add(frame.mode)
            durations.append(frame.duration)
            pixels = frame.image.convert("RGBA").tobytes()
            digests.append(hashlib.blake2b(pixels, digest_size=16).digest())
    except ImageError as error:
        if not salvage or not digests:
            raise
        _logger.warning("%s: the %d before it are used", error, len(digests))
    mode = next(mode for mode in ("RGBA", "RGB", "L") if mode in modes)
    assert isinstance(first.image, Image.Image)
    opened = files.open_header(io.BytesIO(data), where)
    timing = Timing(tuple(durations), _plays(opened), bool(getattr(opened, "default_image", False)))
    first = replace(first, image=first.image.convert(mode))
    return Animation(data, where, mode, timing, tuple(digests), first)


@dataclass(frozen=True)
class _Frame:
    """An upright frame, the mode that holds it, and its duration in milliseconds."""

    image: Image.Image
    mode: str
    duration: float


def _frames(data: bytes, where: str, number: int) -> Iterator[_Frame]:
    opened = files.open_header(io.BytesIO(data), where)
    exif = exif_xmp.sound_exif(opened.getexif)
    turn = _TURNS.get(1 if exif is None else exif.get(ExifTags.Base.Orientation, 1))
    for index in range(number):
        try:
            with size_limits.any_size(), notices.about(None):  # the first frame has told them
                opened.seek(index)
                opened.load()
        except EOFError:
            raise ImageError(
                f"{where} is damaged: {index} of its {number} frames are there"
            ) from None
        except Exception as error:  # decoders of damaged files raise all kinds
            raise ImageError(
                f"{where} is damaged in frame {index + 1} of {number}: {one_line(error)}"
            ) from error
        image = opened if turn is None else opened.transpose(turn)
        yield _Frame(image, _mode(opened), float(opened.info.get("duration", 0)))


def _mode(frame: Image.Image) -> str:
    """The mode that holds a frame; what could be transparent and is not has no alpha."""
    if frame.has_transparency_data and not is_opaque(frame.convert("RGBA")):
        return "RGBA"
    return "L" if frame.mode in ("1", "L", "LA") else "RGB"


def is_opaque(image: Image.Image) -> bool:
    """Whether no pixel of an image with alpha is transparent in the least."""
    return not ImageChops.invert(image.getchannel("A")).getbbox()


def _plays(opened: Image.Image) -> int:
    """How often an animation is played: a GIF states how often it is repeated, or nothing."""
    loop = opened.info.get("loop")
    if opened.format != "GIF":
        return int(loop or 0)
    return 1 if loop is None else int(loop) and int(loop) + 1
