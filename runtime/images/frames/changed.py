"""What changes from one frame of an animation to the next."""

from __future__ import annotations

from PIL import Image, ImageChops


def changed_box(last: Image.Image, frame: Image.Image) -> tuple[int, int, int, int]:
    """The smallest rectangle (left, top, right, bottom) that holds every pixel that differs.

    One pixel where the two are equal, since a frame has at least one.
    """
    box = ImageChops.difference(last, frame).getbbox(alpha_only=False)
    return (0, 0, 1, 1) if box is None else box
