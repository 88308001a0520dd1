"""Pictures that a tile grid is measured on: test patterns and photographs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from export.errors import ExportError
from hcflow_ref.images.bicubic import resize
from hcflow_ref.images.photographs import photograph
from hcflow_ref.images.photographs import photographs as evaluation_photographs
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

STRIP_WIDTH = 16
"""LR pixels across a strip, which tile borders are looked for on."""

PATTERNS = "ramps, noise, step edges and text"
PHOTOGRAPHS = "photographs"
EVALUATED = "evaluation photographs"
"""What is on strips."""

Array = NDArray[np.float32]


def pictures(
    direction: Direction, scale: int, scene: Scene, folder: Path | None
) -> list[tuple[str, Array]]:
    """Pictures an overlap is chosen on: a graph's inputs [3, H, W] by name, the pattern first."""
    side = tile_error.input_side(direction, scale, scene)
    found = [(tile_error.PICTURE, tile_error.picture(side))]
    if folder is not None:
        squares = photographs(folder, scene.picture * scale)
        found += [(name, input_of(square, direction, scale)) for name, square in squares]
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
    return [(PHOTOGRAPH, input_of(square, direction, scale))]


def strips(
    direction: Direction, scale: int, folder: Path | None, length: int
) -> dict[str, list[Array]]:
    """Strips that an overlap is chosen on, as a graph's inputs [3, H, W] by what is on them.

    Args:
        direction: of the graph.
        scale: HR pixels an LR pixel.
        folder: of photographs; None leaves it to test patterns.
        length: LR pixels along a strip.
    """
    cases = {PATTERNS: _patterns(1 if direction == "inverse" else scale, length)}
    found = [] if folder is None else photographs(folder, length * scale)
    if found:
        squares = [square for _, square in found]
        cases[PHOTOGRAPHS] = _through(squares, direction, scale, length)
    return cases


def reported_strips(direction: Direction, scale: int, length: int) -> dict[str, list[Array]]:
    """Strips of the evaluation photographs, which only report; as long as those allow."""
    images = [np.asarray(to_tensor(each)[0]) for each in evaluation_photographs(scale).values()]
    return {EVALUATED: _through(images, direction, scale, length)}


def _patterns(factor: int, length: int) -> list[Array]:
    """Strips of `PATTERNS` in 8 bits, `factor` pixels an LR pixel; each along both axes."""
    height, width = STRIP_WIDTH * factor, length * factor
    y, x = np.mgrid[:height, :width]
    ramps = np.stack([x / width, y / height, (x + 2 * y) / (width + 2 * height)])
    noise = np.random.default_rng(0).random((3, height, width))
    steps = np.stack([(x // 19 + y // 7) % 2, x // 31 % 2, (x + y) // 23 % 2])
    made = [_eight_bits(each) for each in (ramps, noise, steps, _text(height, width))]
    return made + [np.ascontiguousarray(each.transpose(0, 2, 1)) for each in made]


def _through(images: Sequence[Array], direction: Direction, scale: int, length: int) -> list[Array]:
    """A strip through the middle of each photograph, along either axis in turn."""
    found = []
    for number, image in enumerate(images):
        sides = [scale * STRIP_WIDTH, scale * length][:: -1 if number % 2 else 1]
        height, width = (min(pair) for pair in zip(sides, image.shape[1:], strict=True))
        top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
        strip = image[:, top : top + height, left : left + width]
        found.append(input_of(np.ascontiguousarray(strip), direction, scale))
    return found


def _text(height: int, width: int) -> Array:
    """Black lines of text on white."""
    image = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(image)
    words = "No border of a tile may be seen in text: 0123456789 & (a) "
    for line, top in enumerate(range(1, height, 13)):
        draw.text((1, top), (words[7 * line % len(words) :] + words * 12), fill=0)
    gray = np.asarray(image, np.float32) / 255
    return np.repeat(gray[None], 3, axis=0)


def _eight_bits(picture: NDArray[np.floating[Any]]) -> Array:
    rounded: Array = (np.rint(picture * 255) / 255).astype(np.float32)
    return rounded


def input_of(square: Array, direction: Direction, scale: int) -> Array:
    """A photograph [3, H, W] as what goes into a graph: itself, or its 8-bit bicubic reduction.

    Both sides are multiples of the scale.
    """
    if direction == "forward":
        return square
    hr = torch.from_numpy(square)[None]
    lr = quantise(resize(hr.double(), *(side // scale for side in hr.shape[2:])))
    return np.asarray(lr[0].float())
