"""A folder of photographs → equal crops, some for calibration and some held out for choices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calib.errors import CalibrationError
from runtime.errors import HcflowError
from runtime.images.codecs import files
from runtime.images.pixels import arrays

CALIBRATE, HOLD_OUT = 12, 6
"""Crops that ranges are measured on, and crops that every choice is made on."""

SHARP_SIDE = 480
"""Short side that every second photograph is reduced to: at full size large ones are smooth."""

Batch = NDArray[np.float32]


@dataclass(frozen=True)
class Crops:
    """Batches [N, 3, side, side] in [0, 1] of different photographs."""

    calibrate: Batch
    hold_out: Batch


def crops(folder: Path, side: int, report: Callable[[str], None]) -> Crops:
    """Crops of a folder's photographs, the same for the same folder.

    Files are taken evenly from the sorted list, every third of them held out; a crop is the most
    detailed of nine places, since flat sky says little of a range. Every second one is of a reduced
    photograph: ranges of smooth ones alone clip the values of a sharp one.

    Args:
        folder: searched with its subfolders; every format of `runtime.images.codecs.files`.
        side: of a crop, in HR pixels.
        report: called with a line about each file that is skipped.

    Raises:
        CalibrationError: no such folder, or not two usable images in it.
    """
    if not folder.is_dir():
        raise CalibrationError(
            f"--calibration {folder}: no such folder; give a folder of photographs"
        )
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    if not found:
        raise CalibrationError(f"--calibration {folder} is empty: put photographs there")
    usable: list[Batch] = []
    for path in _spread(found):
        if len(usable) == CALIBRATE + HOLD_OUT:
            break
        try:
            usable.append(_crop(path, side, sharp=len(usable) % 2 == 1))
        except HcflowError as error:
            report(f"skipped: {error}")
    if len(usable) < 2:
        raise CalibrationError(
            f"--calibration {folder}: {len(usable)} usable image(s) among {len(found)} files; "
            f"at least two of {side}×{side} pixels are needed, one for calibration and one to hold "
            "out"
        )
    held = usable[1::3]
    rest = [each for index, each in enumerate(usable) if index % 3 != 1]
    return Crops(np.stack(rest), np.stack(held))


def _spread(paths: Sequence[Path]) -> list[Path]:
    """The same paths, so ordered that every beginning is spread over the whole list."""
    order = sorted(range(len(paths)), key=lambda i: int(f"{i:032b}"[::-1], 2))
    return [paths[i] for i in order]


def _crop(path: Path, side: int, sharp: bool) -> Batch:
    image = files.read(path).image
    pictures, _ = arrays.split(_reduced(image, max(side, SHARP_SIDE)) if sharp else image)
    picture = pictures[0]
    if min(picture.height, picture.width) < side:
        raise CalibrationError(
            f"'{path}' has {picture.width}×{picture.height} pixels, a crop has {side}×{side}"
        )
    best: tuple[float, Batch] | None = None
    for row in range(3):
        top = row * (picture.height - side) // 2
        band = picture.colour(top, top + side)
        for column in range(3):
            left = column * (picture.width - side) // 2
            crop = np.ascontiguousarray(band[:, :, left : left + side], np.float32)
            detail = float(np.abs(np.diff(crop, 2, axis=1)).mean())
            detail += float(np.abs(np.diff(crop, 2, axis=2)).mean())
            if best is None or detail > best[0]:
                best = detail, crop
    assert best is not None
    return best[1]


def _reduced(image: Image.Image | NDArray[Any], short_side: int) -> Image.Image | NDArray[Any]:
    """The image with boxes of whole pixels averaged, its short side not below `short_side`."""
    if not isinstance(image, Image.Image) or image.mode not in ("L", "LA", "RGB", "RGBA"):
        return image
    factor = min(image.size) // short_side
    return image.reduce(factor) if factor > 1 else image
