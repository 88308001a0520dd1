"""What the samples of an image agree on: their mean, and a heat map of their deviation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runtime.convert.job import Job
from runtime.convert.restore import Restoration
from runtime.errors import ParameterError
from runtime.images.codecs.formats import Photo
from runtime.images.codecs.metadata import provenance
from runtime.inference.report import Report

SAMPLES = 8
"""Samples where none are asked for."""


@dataclass(frozen=True)
class Uncertainty:
    """The mean image, the heat map, and the largest and mean deviation behind it, in [0, 1]."""

    mean: Photo
    heat_map: Photo
    largest: float
    average: float


def measure(
    job: Job, photo: Photo, restoration: Restoration, report: Report | None = None
) -> Uncertainty:
    """Draw the job's samples of an image and compare them.

    Args:
        job: an upscale.
        photo: as read; its record goes.
        restoration: of it, with model and size.
        report: filled while the image is computed.

    Raises:
        HcflowError: as `Model.uncertainty`.
    """
    sizing = restoration.sizing
    if sizing.target != sizing.full:
        raise ParameterError(
            "an uncertainty is measured on the network's own pixels: leave out the size"
        )
    options = {**job.upscale_options(), "size": restoration.size, "report": report}
    mean, deviation = restoration.model.uncertainty(photo.image, **options)
    largest = float(deviation.max())
    return Uncertainty(
        mean=replace(photo, image=mean, xmp=provenance.remove(photo.xmp)),
        heat_map=Photo(Image.fromarray(heat_map(deviation, largest))),
        largest=largest,
        average=float(deviation.mean(dtype=np.float64)),
    )


def heat_map(deviation: NDArray[np.float32], white: float) -> NDArray[np.uint8]:
    """Deviations [H, W] as the colours of a glowing body, uint8 [H, W, 3].

    Black is 0, then red and yellow at a third and two thirds of `white`, which is white.
    """
    colours = np.empty((*deviation.shape, 3), np.uint8)
    for row, values in enumerate(deviation):  # a row at a time: an image may be large
        glow = values[:, None] * np.float32(3 / white if white > 0 else 0)
        glow = np.clip(glow - np.arange(3, dtype=np.float32), 0, 1)
        colours[row] = np.rint(glow * 255)
    return colours
