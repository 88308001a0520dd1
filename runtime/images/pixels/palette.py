"""Colours reduced to the 256 of a palette, as GIF holds them."""

from __future__ import annotations

import numpy as np
from PIL import Image

COLOURS = 256
_OPAQUE = 128  # alpha from which a pixel is not transparent


def reduced(image: Image.Image) -> Image.Image:
    """An image in mode P: exact where it has few enough colours, else dithered.

    Alpha becomes 1 bit: where a pixel is less than half opaque the result has the colour 255, which
    `info["transparency"]` names.

    Args:
        image: of mode L, LA, RGB or RGBA.
    """
    if image.mode not in ("LA", "RGBA"):
        return _palette(image.convert("RGB"), COLOURS)
    hidden = image.getchannel("A").point(lambda alpha: 0 if alpha >= _OPAQUE else 255)
    result = _palette(image.convert("RGB"), COLOURS - 1)
    colours = (result.getpalette() or [])[: 3 * (COLOURS - 1)]
    result.putpalette(colours + [0] * (3 * COLOURS - len(colours)))
    result.paste(COLOURS - 1, mask=hidden)
    result.info["transparency"] = COLOURS - 1
    return result


def _palette(image: Image.Image, colours: int) -> Image.Image:
    found = image.getcolors(colours)
    if found is None:
        chosen = image.quantize(colours, Image.Quantize.MEDIANCUT)
        return image.quantize(palette=chosen, dither=Image.Dither.FLOYDSTEINBERG)
    red, green, blue = np.asarray(image, np.uint32).transpose(2, 0, 1)
    packed = red << 16 | green << 8 | blue
    unique, index = np.unique(packed, return_inverse=True)
    result = Image.fromarray(index.reshape(packed.shape).astype(np.uint8))
    channels = np.stack([unique >> 16, unique >> 8 & 0xFF, unique & 0xFF], axis=1)
    result.putpalette(channels.astype(np.uint8).tobytes())
    return result
