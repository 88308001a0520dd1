"""Animated GIF, written frame by frame, each with its own palette of 256 colours."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from PIL import GifImagePlugin, Image

from runtime.images.frames.animation import Timing
from runtime.images.frames.changed import changed_box
from runtime.images.pixels import palette

_KEPT, _CLEARED = 1, 2  # what becomes of a frame before the next one
_GLOBAL_TABLE = 0xF7  # a palette of 256 colours for the whole file, of 8 bits a channel
_LOOPS = b"!\xff\x0bNETSCAPE2.0\x03\x01"
_MOST = 0xFFFF


def write(file: IO[bytes], frames: Iterator[Image.Image], timing: Timing) -> None:
    """Write an animated GIF; metadata has no place in it.

    Args:
        file: to write to.
        frames: of one size, and of the mode L, RGB or RGBA.
        timing: one duration a frame, rounded to 10 ms so that the sum does not drift.
    """
    last: Image.Image | None = None
    shown, elapsed = 0.0, 0
    for frame, duration in zip(frames, timing.durations, strict=True):
        if last is None or frame.mode == "RGBA":  # a frame with holes is put on a cleared canvas
            box = (0, 0, *frame.size)
        else:
            box = changed_box(last, frame)
        reduced = palette.reduced(frame.crop(box))
        if last is None:
            file.write(_head(reduced, timing.plays))
        shown += duration
        delay = min(round(shown / 10) - elapsed, _MOST)
        elapsed += delay
        options = {
            "duration": delay * 10,
            "disposal": _CLEARED if frame.mode == "RGBA" else _KEPT,
            "include_color_table": last is not None,
        }
        if "transparency" in reduced.info:
            options["transparency"] = reduced.info["transparency"]
        file.write(b"".join(GifImagePlugin.getdata(reduced, box[:2], **options)))
        last = frame
    file.write(b";")


def _head(first: Image.Image, plays: int) -> bytes:
    """The file up to its first frame; it states how often the animation is repeated, if it is."""
    colours = bytes(first.getpalette() or [])
    head = b"GIF89a" + struct.pack("<HHBBB", *first.size, _GLOBAL_TABLE, 0, 0)
    head += colours.ljust(3 * palette.COLOURS, b"\0")
    if plays == 1:
        return head
    return head + _LOOPS + struct.pack("<H", min(max(plays - 1, 0), _MOST)) + b"\0"
