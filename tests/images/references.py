"""What Pillow and libvips make of an image file by their own means: readings are judged by it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from runtime.images.codecs import vips

SIDE = 8
"""Cells a side of a look's grid."""


@dataclass(frozen=True)
class Look:
    """What an image looks like, from afar.

    Attributes:
        reader: whose it is.
        size: width and height, upright.
        depth: bits a channel: 8, 16, or 32 for floats.
        has_alpha: whether it has an alpha channel.
        mean: of R, G, B, each multiplied by alpha, and of alpha; 0 to 255.
        cells: the same of each cell of a grid of at most `SIDE` × `SIDE`, float32 [H, W, 4].
    """

    reader: str
    size: tuple[int, int]
    depth: int
    has_alpha: bool
    mean: NDArray[np.float32]
    cells: NDArray[np.float32]


def look(reader: str, pixels: NDArray[Any], depth: int | None = None) -> Look:
    """The look of pixels [H, W] or [H, W, 1 to 4]: uint8, uint16 or floats from 0 to 1."""
    values = pixels[..., None] if pixels.ndim == 2 else pixels
    scale = {"uint8": 1.0, "uint16": 1 / 257, "bool": 255.0}.get(pixels.dtype.name, 255.0)
    has_alpha = values.shape[2] in (2, 4)
    colour = values[..., : values.shape[2] - has_alpha].astype(np.float32) * scale
    colour = np.broadcast_to(colour, (*colour.shape[:2], 3))
    alpha = np.full((*colour.shape[:2], 1), 255, np.float32)
    if has_alpha:
        alpha = values[..., -1:].astype(np.float32) * scale
    whole = np.concatenate([colour * (alpha / 255), alpha], axis=2)
    depth = depth or {"uint8": 8, "bool": 8, "uint16": 16}.get(pixels.dtype.name, 32)
    height, width = whole.shape[:2]
    mean = whole.mean(axis=(0, 1))
    return Look(reader, (width, height), depth, has_alpha, mean, _cells(whole))


def looks(path: Path) -> Iterator[Look]:
    """The looks that Pillow and libvips give a file; none where a reader refuses it."""
    for read in (_pillow, _libvips):
        try:
            found = read(path)
        except Exception:  # whatever a reader does with a file that it does not read
            continue
        if found is not None:
            yield found


def _pillow(path: Path) -> Look | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path) as opened:
            image: Image.Image = ImageOps.exif_transpose(opened)
    depth = {"I;16": 16, "I;16B": 16, "I": 32, "F": 32}.get(image.mode, 8)
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        values = np.asarray(image).astype(np.int64)
        return look("Pillow", np.clip(values, 0, 65535).astype(np.uint16), 16)
    if image.mode == "F":
        return look("Pillow", np.asarray(image), depth)
    has_alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    return look("Pillow", np.asarray(image.convert("RGBA" if has_alpha else "RGB")), depth)


def _libvips(path: Path) -> Look | None:
    pyvips = vips.find()
    if pyvips is None:
        return None
    image = pyvips.Image.new_from_file(str(path), fail_on="error").autorot()
    depth = {"uchar": 8, "ushort": 16}.get(image.format, 32)
    if image.interpretation not in ("b-w", "grey16", "srgb", "rgb", "rgb16", "multiband"):
        if image.get_typeof("icc-profile-data") and image.interpretation == "cmyk":
            image = image.icc_transform("srgb", embedded=True)
        image = image.colourspace("rgb16" if depth == 16 else "srgb")
    if depth == 32:
        image = image.cast("float")
    return look("libvips", image.numpy(), depth)


def _cells(whole: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean of each cell of a grid."""
    rows = np.array_split(np.arange(whole.shape[0]), min(SIDE, whole.shape[0]))
    columns = np.array_split(np.arange(whole.shape[1]), min(SIDE, whole.shape[1]))
    upper = np.add.reduceat(whole, [row[0] for row in rows], axis=0)
    sums = np.add.reduceat(upper, [column[0] for column in columns], axis=1)
    areas = np.outer([len(row) for row in rows], [len(column) for column in columns])
    cells: NDArray[np.float32] = (sums / areas[..., None]).astype(np.float32)
    return cells
