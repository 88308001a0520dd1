"""Images in the user's form ↔ planes in the network's: float32 RGB [3, H, W] in [0, 1].

`split` takes a Pillow image or an array apart into planes and a `Layout`, which says how to put
planes of any size back together in the same type, bit depth and channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.errors import ImageError

Planes = NDArray[np.float32]

_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_STRAY = 0.5  # how far beyond [0, 1] a float image may stray before its range is taken as another

# Pillow modes without a direct array form → the mode that holds the same picture.
_CONVERTED = {
    "1": "L",
    "PA": "RGBA",
    "La": "LA",
    "RGBa": "RGBA",
    "RGBX": "RGB",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "HSV": "RGB",
    "LAB": "RGB",
}


@dataclass(frozen=True)
class Picture:
    """One image as planes: colour [3, H, W] in [0, 1], alpha [H, W] in [0, 1] or None."""

    colour: Planes
    alpha: Planes | None = None


@dataclass(frozen=True)
class Layout:
    """The form of an image: Pillow mode (None for an array), dtype, axes and channels."""

    mode: str | None
    dtype: np.dtype[Any]
    axes: str
    channels: int


def split(image: Any) -> tuple[list[Picture], Layout]:
    """Take an image apart.

    Args:
        image: Pillow image, or array of H×W, H×W×C or N×H×W×C with C from 1 to 4 (gray, gray and
            alpha, RGB, RGB and alpha); uint8, uint16, or floats in [0, 1].

    Returns:
        One picture, or N of a batch; and the form they came in.

    Raises:
        ImageError: another type, dtype, shape or range; no pixels; NaN.
    """
    mode = None
    if isinstance(image, Image.Image):
        mode, array = _pillow_array(image)
    elif isinstance(image, np.ndarray):
        array = image
    else:
        raise ImageError(
            f"an image cannot be a {type(image).__name__}: give a Pillow image or a NumPy array"
        )
    if array.dtype.name not in _DTYPES:
        raise ImageError(f"pixels of type {array.dtype}: they must be one of {', '.join(_DTYPES)}")
    if array.ndim not in (2, 3, 4) or (array.ndim > 2 and array.shape[-1] not in (1, 2, 3, 4)):
        raise ImageError(
            f"an array of shape {array.shape}: it must be H×W, H×W×C or N×H×W×C with C from 1 to 4"
        )
    if array.size == 0:
        raise ImageError(f"an image of shape {array.shape} has no pixels")
    axes = {2: "HW", 3: "HWC", 4: "NHWC"}[array.ndim]
    channels = array[..., None] if array.ndim == 2 else array
    batch = channels[None] if channels.ndim == 3 else channels
    layout = Layout(mode, array.dtype, axes, batch.shape[-1])
    return [_picture(_to_unit(pixels)) for pixels in batch], layout


def join(pictures: Sequence[Picture], layout: Layout) -> Any:
    """Put pictures back together in a form: colour clipped to [0, 1], integers to the nearest.

    Returns:
        What `split` was given: a Pillow image, or an array with the layout's dtype and axes.
    """
    arrays = [_from_unit(_channels(picture, layout.channels), layout.dtype) for picture in pictures]
    if layout.axes == "NHWC":
        return np.stack(arrays)
    array = arrays[0][..., 0] if layout.axes == "HW" else arrays[0]
    if layout.mode is None:
        return array
    if layout.mode == "I":
        return Image.fromarray(array.astype(np.int32))
    return Image.fromarray(array)


def result_mode(image: Image.Image) -> str:
    """The mode that comes out for a Pillow image, known before any work is done."""
    if image.mode == "P" or (image.mode in ("RGB", "L") and "transparency" in image.info):
        has_alpha = "transparency" in image.info
        return ("LA" if image.mode == "L" else "RGBA") if has_alpha else "RGB"
    return "I;16" if image.mode.startswith("I;16") else _CONVERTED.get(image.mode, image.mode)


def resize_alpha(alpha: Planes, height: int, width: int, resample: Image.Resampling) -> Planes:
    """Resample a plane [h, w] to [height, width] with Pillow in float32."""
    resized = Image.fromarray(alpha).resize((width, height), resample)
    return np.asarray(resized, np.float32)


def _pillow_array(image: Image.Image) -> tuple[str, NDArray[Any]]:
    """A Pillow image as (mode it goes back to, array)."""
    if 0 in image.size:
        raise ImageError(f"an image of {image.width}×{image.height} has no pixels")
    mode = result_mode(image)
    if mode == "I;16":
        return mode, np.asarray(image).astype(np.uint16)
    if mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ImageError("a 32-bit integer image with values beyond 16 bits: rescale it first")
        return mode, values.astype(np.uint16)
    if mode not in ("L", "LA", "RGB", "RGBA", "F"):
        raise ImageError(f"Pillow images of mode '{mode}' are not supported: convert to RGB first")
    return mode, np.asarray(image if image.mode == mode else image.convert(mode))


def _picture(pixels: Planes) -> Picture:
    """[H, W, C] in [0, 1] → planes; gray becomes three equal colours."""
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    has_alpha = len(planes) in (2, 4)
    colour = planes[:-1] if has_alpha else planes
    alpha = planes[-1] if has_alpha else None
    return Picture(np.repeat(colour, 3, axis=0) if len(colour) == 1 else colour, alpha)


def _channels(picture: Picture, channels: int) -> Planes:
    """Planes → [H, W, C]; gray is the luma of the colours as they would be shown, so clipped."""
    colour = np.clip(picture.colour, 0, 1).transpose(1, 2, 0)
    if channels < 3:
        colour = (colour * _LUMA).sum(axis=2, keepdims=True, dtype=np.float32)
    if picture.alpha is None:
        return colour
    return np.concatenate([colour, picture.alpha[..., None]], axis=2)


def _to_unit(pixels: NDArray[Any]) -> Planes:
    if pixels.dtype.kind == "u":
        unit: Planes = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
        return unit
    lowest, highest = float(pixels.min()), float(pixels.max())
    # Written so that NaN fails too.
    if not (lowest >= -_STRAY and highest <= 1 + _STRAY):
        raise ImageError(
            f"float pixels from {lowest:g} to {highest:g}: they must be numbers in [0, 1] "
            "(divide 8-bit values by 255)"
        )
    clipped: Planes = np.clip(pixels, 0, 1).astype(np.float32)
    return clipped


def _from_unit(pixels: Planes, dtype: np.dtype[Any]) -> NDArray[Any]:
    pixels = np.clip(pixels, 0, 1)
    if dtype.kind == "u":
        pixels = np.rint(pixels * np.float32(np.iinfo(dtype).max))
    result: NDArray[Any] = pixels.astype(dtype)
    return result
