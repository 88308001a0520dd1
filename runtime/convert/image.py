"""One image in memory upscaled or downscaled, with its metadata and record.

What the commands, the folders' workers and `hcflow.upscale_file` share; nothing here prints.
"""

from __future__ import annotations

import contextlib
import logging
import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

from runtime.bundle.manifest import Precision
from runtime.convert import psnr
from runtime.convert.job import Job
from runtime.convert.restore import Restoration
from runtime.errors import BundleError, ImageError, ParameterError
from runtime.images.codecs import files, formats, notices, size_limits
from runtime.images.codecs.formats import Photo
from runtime.images.codecs.lossy import Lossy
from runtime.images.codecs.metadata import provenance
from runtime.images.codecs.metadata.provenance import Provenance
from runtime.inference.report import Report
from runtime.model import Model

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Downscaled:
    """A small image's file.

    Attributes:
        data: its bytes.
        size: width and height.
        record: the record in it; None where the format has no place for one.
        bicubic_bytes: size of the same file with Pillow's bicubic downscale in it.
        round_trip_psnr_db: None where it was not measured, or nothing was lost.
    """

    data: bytes
    size: tuple[int, int]
    record: Provenance | None
    bicubic_bytes: int
    round_trip_psnr_db: float | None

    def as_json(self) -> dict[str, Any]:
        """What `--json` says of it."""
        return {
            "size": list(self.size),
            "bytes": len(self.data),
            "bicubic_bytes": self.bicubic_bytes,
            "round_trip_psnr_db": self.round_trip_psnr_db,
            "origin_recorded": self.record is not None,
        }


def downscale(
    job: Job, model: Model, photo: Photo, format_name: str, report: Report | None = None
) -> Downscaled:
    """Downscale an image into the bytes of a file that records how it was made.

    With `job.round_trip`, and where the model goes both ways, the file is upscaled again and its
    PSNR recorded: about as much work again.

    Args:
        job: a downscale.
        model: of the job.
        photo: as read.
        format_name: of `formats.FORMATS`.
        report: filled while the image is computed.

    Raises:
        HcflowError: as `Model.downscale`, and where the format cannot hold the image.
    """
    width, height = (-(-side // model.scale) for side in photo.size)
    size_limits.check_sides(format_name, width, height)
    report = report or Report()
    small = model.downscale(photo.image, **job.tiling_options(), report=report, cancel=job.cancel)
    precision = report.precision
    assert precision is not None
    lossy = Lossy(job.quality, png_level=job.png_level)
    result = replace(photo, image=small, xmp=provenance.remove(photo.xmp), lossy=lossy)
    # What the file gives back is what can be upscaled again: a lossy format has changed it.
    with report.timed("encoding"):
        data = formats.encode(result, format_name)
        kept = files.decode(data, "the result", width * height).image
    with report.timed("round trip"):
        round_trip_psnr = _round_trip(job, model, photo, kept) if job.round_trip else None
    record = record_of(model, photo.size, provenance.digest(kept), round_trip_psnr, precision)
    has_place = format_name in provenance.FORMATS
    with report.timed("encoding"), notices.about(None):  # the first encoding has told them
        if has_place:
            result = replace(result, xmp=provenance.embed(result.xmp, record))
            data = formats.encode(result, format_name)
        plain = psnr.bicubic(photo.image, width, height)
        bicubic_bytes = len(formats.encode(replace(result, image=plain), format_name))
    return Downscaled(
        data=data,
        size=(width, height),
        record=record if has_place else None,
        bicubic_bytes=bicubic_bytes,
        round_trip_psnr_db=round_trip_psnr,
    )


def upscale(
    job: Job,
    photo: Photo,
    restoration: Restoration,
    *,
    gate: AbstractContextManager[object] | None = None,
    report: Report | None = None,
) -> list[Photo]:
    """Upscale an image, once for each of the job's samples; the results keep its metadata.

    Args:
        job: an upscale.
        photo: as read; its record goes.
        restoration: of it, with model and size.
        gate: held while the model works.
        report: filled while the image is computed.

    Raises:
        HcflowError: as `Model.upscale`.
    """
    options = {**job.upscale_options(), "size": restoration.size, "report": report}
    with gate or contextlib.nullcontext(), restoration.blame_record():
        model = restoration.model
        drawn = model.upscale(photo.image, **options)
        images = [
            restoration.sizing.finish(model, image, options)
            for image in ([drawn] if job.samples == 1 else drawn)
        ]
    xmp = provenance.remove(photo.xmp)
    lossy = replace(photo.lossy, quality=job.quality, png_level=job.png_level)
    return [replace(photo, image=image, xmp=xmp, lossy=lossy) for image in images]


def record_of(
    model: Model,
    size: tuple[int, int],
    pixels: str | None,
    round_trip_psnr: float | None,
    precision: Precision,
) -> Provenance:
    """The record of a downscale of an image of `size` (width, height) in a precision."""
    return Provenance(
        model=model.manifest.name,
        checkpoint=model.manifest.checkpoint.sha256,
        scale=model.scale,
        width=size[0],
        height=size[1],
        precision=precision,
        tau=model.default_tau,
        pixels=pixels,
        round_trip_psnr_db=round_trip_psnr,
    )


def _round_trip(job: Job, model: Model, photo: Photo, small: Any) -> float | None:
    if not any(graph.direction == "inverse" for graph in model.manifest.graphs):
        return None
    width, height = photo.size
    try:
        large = model.upscale(small, size=(height, width), cancel=job.cancel)
    except (BundleError, ImageError, ParameterError) as error:
        # An inverse in another precision only, or one that runs whole what was downscaled in tiles.
        _logger.warning("the round trip was not measured: %s", error)
        return None
    value = psnr.psnr(photo.image, large)
    return round(value, 3) if math.isfinite(value) else None
