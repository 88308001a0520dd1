"""Pictures that a tile grid is measured on: a test pattern and photographs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export.errors import ExportError
from hcflow_ref.images.bicubic import resize
from hcflow_ref.images.photographs import photograph
from hcflow_ref.images.tensors import to_tensor
from hcflow_ref.network.lr_image import quantise
from runtime.bundle.manifest import Direction
from runtime.checks import tile_error
from runtime.checks.tile_error import Scene
from runtime.errors import HcflowError
from runtime.images.codecs import files
from runtime.images.pixels import arrays

PHOTOGRAPH = "astronaut"
MOST_PHOTOGRAPHS = 4

Array = NDArray[np.float32]


def pictures(
    direction: Direction, scale: int, scene: Scene, folder: Path | None
) -> list[tuple[str, Array]]:
    """Pictures an overlap is chosen on: a graph's inputs [3, H, W] by name, the pattern first."""
    side = tile_error.input_side(direction, scale, scene)
    found = [(tile_error.PICTURE, tile_error.picture(side))]
    if folder is not None:
        squares = photographs(folder, scene.picture * scale)
        found += [(name, _input(square, direction, scale)) for name, square in squares]
    return found


def photographs(
    folder: Path, side: int, report: Callable[[str], None] = lambda _: None
) -> list[tuple[str, Array]]:
    """Squares [3, side, side] in [0, 1] from the middle of a folder's first large photographs.

    Args:
        folder: searched without its subfolders; every format of `runtime.images.codecs.files`.
        side: in HR pixels.
        report: called with a line about each file that is not an image.

    Raises:
        ExportError: there is no such folder, or it cannot be read.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise ExportError(
            f"--tile-photographs {folder}: {error.strerror}; give a folder of photographs"
        ) from error
    found: list[tuple[str, Array]] = []
    for path in paths:
        if len(found) == MOST_PHOTOGRAPHS:
            break
        try:
            pictures, _ = arrays.split(files.read(path).image)
        except HcflowError as error:  # a folder of photographs may hold other files
            report(f"skipped: {error}")
            continue
        picture = pictures[0]
        if min(picture.height, picture.width) >= side:
            top, left = (picture.height - side) // 2, (picture.width - side) // 2
            square = picture.colour(top, top + side)[:, :, left : left + side]
            found.append((path.name, np.ascontiguousarray(square)))
    return found


def reported(direction: Direction, scale: int, scene: Scene) -> list[tuple[str, Array]]:
    """The bottom right of an evaluation photograph, where it is large enough."""
    side = scene.picture * scale
    image = photograph(PHOTOGRAPH)
    if min(image.shape[:2]) < side:
        return []
    square = np.asarray(to_tensor(image[-side:, -side:])[0])
    return [(PHOTOGRAPH, _input(square, direction, scale))]


def _input(square: Array, direction: Direction, scale: int) -> Array:
    """A photograph [3, H, W] as what goes into a graph: itself, or its 8-bit bicubic reduction."""
    if direction == "forward":
        return square
    hr = torch.from_numpy(square)[None]
    lr = quantise(resize(hr.double(), *(side // scale for side in hr.shape[2:])))
    return np.asarray(lr[0].float())
