"""Images in the user's form ↔ planes in the network's: float32 RGB [3, H, W] in [0, 1].

`split` makes pictures of a Pillow image or an array, which give planes for any rows, and a
`Layout`, by which a `Canvas` writes planes of any size in the same type, bit depth and channels.
Neither ever holds the planes of a whole image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.errors import ImageError, one_line

Planes = NDArray[np.float32]

_DTYPES = ("uint8", "uint16", "float16", "float32", "float64")
_RED, _GREEN, _BLUE = (np.float32(part) for part in (0.299, 0.587, 0.114))  # ITU-R BT.601
_OPAQUE = 255  # alpha of a palette's colour
_PAINTED_ROWS = 32  # painted at a time, so that temporary arrays stay small
_BICUBIC_REACH = 3  # rows beyond a pixel that its weights reach, and one more
_STRAY = 0.5  # floats further than this beyond [0, 1] are taken for another range

# Pillow modes without a direct array form → the mode that holds the same image.
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
    """One image, array [H, W, C], and planes of any of its rows."""

    pixels: NDArray[Any]

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    def colour(self, start: int, stop: int) -> Planes:
        """Rows [start, stop) as RGB [3, rows, W] in [0, 1]; gray is three equal colours."""
        colours = self.pixels[start:stop, :, : 1 if self.is_gray else 3]
        planes = _to_unit(colours.transpose(2, 0, 1))
        return np.repeat(planes, 3, axis=0) if self.is_gray else planes

    def alpha(self) -> Planes | None:
        """Opacity [H, W] in [0, 1], or None."""
        return _to_unit(self.pixels[..., -1]) if self.pixels.shape[2] in (2, 4) else None

    @property
    def is_gray(self) -> bool:
        """Whether it has one channel of colour."""
        return int(self.pixels.shape[2]) < 3


@dataclass(frozen=True)
class Layout:
    """The form of an image: Pillow mode (None for an array), dtype, axes and channels."""

    mode: str | None
    dtype: np.dtype[Any]
    axes: str
    channels: int


def split(image: Any) -> tuple[list[Picture], Layout]:
    """The pictures of an image in the user's form.

    Args:
        image: Pillow image, or array of H×W, H×W×C or N×H×W×C with C from 1 to 4 (gray, gray and
            alpha, RGB, RGB and alpha); uint8, uint16, or floats in [0, 1].

    Returns:
        One picture, or N of a batch; and the form of the image.

    Raises:
        ImageError: another type, dtype, shape or range; no pixels; NaN.
    """
    mode = None
    if isinstance(image, Image.Image):
        try:
            mode, array = _pillow_array(image)
        except ImageError:
            raise
        except Exception as error:  # a lazy image: its file is damaged, or it was closed
            raise ImageError(f"Pillow cannot give the image's pixels: {one_line(error)}") from error
    elif np.ma.isMaskedArray(image):
        raise ImageError("an image cannot be a masked array: give image.filled(VALUE)")
    elif isinstance(image, np.ndarray):
        array = np.asarray(image)  # a matrix would not take a third axis
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
    if array.dtype.kind == "f":
        _check_range(array)
    return [Picture(pixels) for pixels in batch], layout


class Canvas:
    """An image in the user's form, painted in blocks of rows.

    Args:
        layout: the form.
        count: pictures in a batch, else 1.
        height: rows of each picture.
        width: columns.
    """

    def __init__(self, layout: Layout, count: int, height: int, width: int) -> None:
        self._layout = layout
        self._pixels = np.empty((count, height, width, layout.channels), layout.dtype)

    def paint(self, index: int, top: int, colour: Planes, alpha: Planes | None = None) -> None:
        """Write rows from `top` on into a picture; rows and columns beyond the canvas are cut off.

        Args:
            index: which picture.
            top: first row.
            colour: [3, rows, W]; clipped to [0, 1], and rounded to the nearest for integers.
            alpha: [rows, W] where the layout has it.
        """
        _, height, width, channels = self._pixels.shape
        for start in range(0, min(colour.shape[1], height - top), _PAINTED_ROWS):
            rows = slice(start, min(start + _PAINTED_ROWS, height - top))
            some = _channels(
                colour[:, rows, :width], None if alpha is None else alpha[rows, :width], channels
            )
            painted = self._pixels[index, top + start : top + start + some.shape[0]]
            painted[...] = _from_unit(some, self._layout.dtype)

    def put(self, index: int, top: int, rows: NDArray[Any]) -> None:
        """Write rows [rows, W, C] of the layout's own type into a picture, from `top` on."""
        self._pixels[index, top : top + rows.shape[0]] = rows

    def image(self) -> Any:
        """The finished image: a Pillow image, or an array with the layout's dtype and axes."""
        if self._layout.axes == "NHWC":
            return self._pixels
        array = self._pixels[0, ..., 0] if self._layout.axes == "HW" else self._pixels[0]
        if self._layout.mode is None:
            return array
        if self._layout.mode == "I":
            return Image.fromarray(array.astype(np.int32))
        return Image.fromarray(array)


def result_mode(image: Image.Image) -> str:
    """The mode of a model's result for a Pillow image, known before any work."""
    if image.mode == "P" or (image.mode in ("RGB", "L", "1") and "transparency" in image.info):
        has_alpha = "transparency" in image.info or _has_faint_colours(image)
        return ("LA" if image.mode in ("L", "1") else "RGBA") if has_alpha else "RGB"
    return "I;16" if image.mode.startswith("I;16") else _CONVERTED.get(image.mode, image.mode)


def _has_faint_colours(image: Image.Image) -> bool:
    """Whether a palette with alpha (of a TGA, of `quantize`) hides a colour that the image uses."""
    if image.palette is None or not image.palette.mode.endswith("A"):
        return False
    alpha = (image.getpalette("RGBA") or [])[3::4]
    used = np.flatnonzero(image.histogram())
    return any(alpha[index] < _OPAQUE for index in used if index < len(alpha))


def luma(colour: Planes) -> Planes:
    """The luma [H, W] of RGB [3, H, W], by ITU-R BT.601."""
    sums: Planes = colour[0] * _RED + colour[1] * _GREEN + colour[2] * _BLUE
    return sums


def upscale_alpha(alpha: Planes, scale: int, top: int, rows: int) -> Planes:
    """Rows [top, top + rows) of a plane [h, w] upscaled by `scale` with Pillow's bicubic filter.

    Equal to those rows of the whole plane upscaled at once: columns and rows are two passes, since
    Pillow chooses their order by the size of its input.
    """
    height, width = alpha.shape
    first = max(top // scale - _BICUBIC_REACH, 0)
    last = min(-(-(top + rows) // scale) + _BICUBIC_REACH, height)
    columns = Image.fromarray(alpha[first:last])
    columns = columns.resize((width * scale, last - first), Image.Resampling.BICUBIC)
    box = (0.0, top / scale - first, float(width * scale), (top + rows) / scale - first)
    return np.asarray(columns.resize((width * scale, rows), Image.Resampling.BICUBIC, box))


def downscale_alpha(alpha: Planes, scale: int) -> Planes:
    """The mean of every scale × scale block of a plane [H, W]: [H / scale, W / scale].

    In two passes as well: a mean often lies halfway between two values of 8 bits, where the order
    of the passes shows.
    """
    height, width = alpha.shape
    columns = Image.fromarray(alpha).resize((width // scale, height), Image.Resampling.BOX)
    size = width // scale, height // scale
    return np.asarray(columns.resize(size, Image.Resampling.BOX))


def _pillow_array(image: Image.Image) -> tuple[str, NDArray[Any]]:
    """A Pillow image as (mode of the result, array)."""
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


def _channels(colour: Planes, alpha: Planes | None, channels: int) -> Planes:
    """Planes → [H, W, C]; gray is the luma of the colours as shown, so they are clipped first."""
    colour = np.clip(colour, 0, 1).transpose(1, 2, 0)
    if channels < 3:
        colour = luma(colour.transpose(2, 0, 1))[..., None]
    if alpha is None:
        return colour
    return np.concatenate([colour, alpha[..., None]], axis=2)


def _to_unit(pixels: NDArray[Any]) -> Planes:
    """Pixels of any axes in [0, 1]: float32, contiguous, made without a second array."""
    unit = np.empty(pixels.shape, np.float32)
    if pixels.dtype.kind == "u":
        np.divide(pixels, np.float32(np.iinfo(pixels.dtype).max), out=unit, dtype=np.float32)
    else:
        np.clip(pixels, 0, 1, out=unit, casting="same_kind")
    return unit


def _check_range(pixels: NDArray[Any]) -> None:
    lowest, highest = float(pixels.min()), float(pixels.max())
    # Written so that NaN fails too.
    if not (lowest >= -_STRAY and highest <= 1 + _STRAY):
        raise ImageError(
            f"float pixels from {lowest:g} to {highest:g}: they must be numbers in [0, 1] "
            "(divide 8-bit values by 255)"
        )


def _from_unit(pixels: Planes, dtype: np.dtype[Any]) -> NDArray[Any]:
    pixels = np.clip(pixels, 0, 1)
    if dtype.kind == "u":
        pixels = np.rint(pixels * np.float32(np.iinfo(dtype).max))
    result: NDArray[Any] = pixels.astype(dtype)
    return result
