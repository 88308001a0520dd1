"""Frames and their timing → the file of an animation, or a TIFF of pages."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import IO

from PIL import Image

from runtime.errors import ImageError
from runtime.images.codecs import formats
from runtime.images.codecs.formats import Photo
from runtime.images.codecs.metadata import colour_profile
from runtime.images.frames import animation, apng, gif
from runtime.images.frames.animation import Timing
from runtime.images.frames.tiff_pages import Joiner

FORMATS = (*animation.FORMATS, "TIFF")
"""Formats that `encode` writes."""

LOST = {
    "GIF": "256 colours a frame, 1 bit of alpha and no metadata",
    "AVIF": "no number of repeats, and is lossy",
    "TIFF": "the frames as pages, without their timing",
}
"""What a format keeps of an animation, where that is not all."""


def encode(
    file: IO[bytes], frames: Iterator[Image.Image], timing: Timing, like: Photo, format_name: str
) -> None:
    """Write frames of one size, taken one at a time; only a lossless WebP or AVIF is kept whole.

    A poster (`Timing`) is written to PNG alone, else it is left out.

    Args:
        file: empty, and can be sought.
        frames: of one mode: L, RGB or RGBA.
        timing: one duration a frame.
        like: with the metadata of the file.
        format_name: of `FORMATS`.

    Raises:
        ImageError: the format cannot hold them.
    """
    if format_name == "PNG":
        apng.write(file, frames, timing, like)
        return
    if timing.has_poster:
        next(frames)
        timing = replace(timing, durations=timing.durations[1:], has_poster=False)
    if format_name == "GIF":
        gif.write(file, frames, timing)
    elif format_name == "TIFF":
        pages = Joiner(file, "the result")
        for frame in frames:
            pages.append(formats.encode(replace(like, image=frame), "TIFF"))
    else:
        _save(file, frames, timing, like, format_name)


def _save(
    file: IO[bytes], frames: Iterator[Image.Image], timing: Timing, like: Photo, format_name: str
) -> None:
    """By the format's own encoder, which keeps what it has compressed until the end."""
    first = next(frames)
    is_gray = replace(like, image=first).is_gray
    icc, table = colour_profile.for_format(like.icc, format_name, is_gray=is_gray)
    frames = itertools.chain([first], frames)
    if table is not None:
        frames = (colour_profile.through(frame, table) for frame in frames)
    sequence = _Sequence(frames, len(timing.durations))
    durations = [round(duration) for duration in timing.durations]
    options = formats.save_options(replace(like, image=sequence.first, icc=icc), format_name)
    try:
        sequence.save(
            file, format_name, save_all=True, duration=durations, loop=timing.plays, **options
        )
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot write this animation as {format_name}: {error}") from error


class _Sequence(Image.Image):
    """An image of several frames for Pillow's encoders: each is computed when it is sought."""

    is_animated = True

    def __init__(self, frames: Iterator[Image.Image], number: int) -> None:
        super().__init__()
        self.n_frames = number
        self._frames, self._index = frames, -1
        self.seek(0)
        self.first = self.copy()

    def seek(self, frame: int) -> None:
        """Go to the next frame; a call for one that has been, which encoders end with, is void."""
        if frame >= self.n_frames:
            raise EOFError
        if frame <= self._index:
            return
        image = next(self._frames)
        self.im, self._mode, self._size = image.im, image.mode, image.size
        self._index = frame

    def tell(self) -> int:
        """The number of the current frame, from 0."""
        return self._index
