"""What a TIFF's tags say of its samples where Pillow or libvips would not heed it."""

from __future__ import annotations

import contextlib
from typing import IO, Any

from PIL import Image, TiffImagePlugin

from runtime.errors import ImageError
from runtime.images.codecs import notices

_BITS, _PHOTOMETRIC, _SAMPLES, _PLANES = 258, 262, 277, 284
_TILE_WIDTH, _EXTRA, _FORMAT = 322, 338, 339

_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 4: 1, 5: 4, 6: 3, 8: 3}  # photometric meaning → channels
_PREMULTIPLIED, _STRAIGHT = 1, 2  # kinds of extra samples that are alpha
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_KINDS = {_UNSIGNED: "unsigned", _SIGNED: "signed", _FLOAT: "float", 4: "undefined"}

_CONVERT = "convert it to 8 or 16 bits, unsigned (magick IN -depth 16 OUT)"


def check(image: Image.Image, where: str) -> None:
    """Refuse samples that stand for no brightness, and warn of channels that are left out.

    Args:
        image: a TIFF as opened.
        where: names it.

    Raises:
        ImageError: samples are signed or complex.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    kinds = _numbers(tags, _FORMAT)
    if any(kind not in (_UNSIGNED, _FLOAT, 4) for kind in kinds):
        kind = "signed" if _SIGNED in kinds else "complex"
        raise ImageError(f"{where} has {kind} samples, of which none is white: {_CONVERT}")
    left_out = len(_extra(tags)) - (alpha(image) is not None)
    if left_out > 0:
        channels = "channel that is" if left_out == 1 else "channels that are"
        notices.add(f"{left_out} extra {channels} no alpha: left out")


def alpha(image: Image.Image) -> tuple[int, bool] | None:
    """The channel that is alpha, and whether colours are multiplied by it; None where none is."""
    tags = getattr(image, "tag_v2", {})
    colours = _COLOURS.get(tags.get(_PHOTOMETRIC, -1), 0)
    for index, kind in enumerate(_extra(tags)):
        if kind in (_PREMULTIPLIED, _STRAIGHT):
            return colours + index, kind == _PREMULTIPLIED
    return None


def without_extra(pixels: Any, image: Image.Image) -> Any:
    """A libvips image of a TIFF without its other extra channels; its alpha, straight, is last."""
    tags = getattr(image, "tag_v2", {})
    colours = _COLOURS.get(tags.get(_PHOTOMETRIC, -1), 0)
    if not colours or pixels.bands <= colours or not _extra(tags):
        return pixels
    found = alpha(image)
    colour = pixels.extract_band(0, n=colours)
    if found is None or found[0] >= pixels.bands:
        return colour
    return colour.bandjoin(pixels[found[0]])


def planes_in_tiles(image: Image.Image) -> bool:
    """Whether each channel has tiles of its own, which libvips does not read."""
    tags = getattr(image, "tag_v2", {})
    return tags.get(_PLANES, 1) == 2 and _TILE_WIDTH in tags


def refusal(file: IO[bytes], where: str) -> str:
    """Why Pillow cannot open a TIFF: its samples are of an unknown kind, or it is damaged."""
    with contextlib.suppress(Exception):  # damaged directories fail in all kinds of ways
        file.seek(0)
        directory = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
        file.seek(directory.next)
        with notices.about(None):
            directory.load(file)
        bits = sorted(set(_numbers(directory, _BITS)))
        if bits and all(tag in directory for tag in (256, 257)):
            count = int(directory.get(_SAMPLES, len(bits)))
            kinds = {_KINDS.get(kind, "complex") for kind in _numbers(directory, _FORMAT)}
            described = f"{count} channels" if count > 1 else "one channel"
            return (
                f"{where} is a TIFF of {described} of {'/'.join(map(str, bits))} bits, "
                f"{'/'.join(sorted(kinds))}, which this program does not read: {_CONVERT}"
            )
    return f"{where} is damaged: the TIFF's directory cannot be read"


def _extra(tags: Any) -> tuple[int, ...]:
    return _numbers(tags, _EXTRA) if _EXTRA in tags else ()


def _numbers(tags: Any, tag: int) -> tuple[int, ...]:
    """A tag's values; (1,), TIFF's default for bits and formats of samples, where it is missing."""
    values = tags.get(tag, (1,))
    return tuple(values) if isinstance(values, tuple) else (values,)
