"""One image taken down or up: pixels through a model, records read and written, bytes of a file.

What the commands, the folders' workers and `hcflow.upscale_file` share; nothing here prints.
"""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from runtime.bundle.manifest import Precision
from runtime.convert import psnr as figures
from runtime.convert import restore
from runtime.convert.job import Models
from runtime.errors import BundleError, ImageError, ParameterError
from runtime.images import files, padding, provenance, size_limits
from runtime.images.files import Photo
from runtime.images.provenance import Origin
from runtime.inference.report import Report
from runtime.model import Model

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reduced:
    """A small image's file.

    `origin` is the record in it, None where the format has no place for one; `bicubic_bytes` the
    size of the same file with Pillow's bicubic reduction in it; `round_trip_psnr_db` None where it
    was not measured, or nothing was lost.
    """

    data: bytes
    size: tuple[int, int]
    origin: Origin | None
    bicubic_bytes: int
    round_trip_psnr_db: float | None


def reduce(
    model: Model,
    photo: Photo,
    format_name: str,
    *,
    round_trip: bool = True,
    options: Mapping[str, Any] = MappingProxyType({}),
) -> Reduced:
    """Downscale a photograph into the bytes of a file that knows how it was made.

    Args:
        model: of the reduction.
        photo: as read.
        format_name: of `files.FORMATS`.
        round_trip: upscale the file again and record its PSNR, where the model goes both ways;
            about as much work again.
        options: of `Model.downscale`.

    Raises:
        HcflowError: as `Model.downscale`, and where the format cannot hold the image.
    """
    width, height = (-(-side // model.scale) for side in photo.size)
    size_limits.check_sides(format_name, width, height)
    report = options.get("report") or Report()
    small = model.downscale(photo.image, **{**options, "report": report})
    precision = report.precision
    assert precision is not None
    result = replace(photo, image=small, xmp=provenance.remove(photo.xmp))
    # What the file gives back is what can be made large again: a lossy format has changed it.
    kept = files.decode(files.encode(result, format_name), "the result", width * height).image
    psnr = _round_trip(model, photo, kept) if round_trip else None
    record = record_of(model, photo.size, provenance.digest(kept), psnr, precision)
    has_place = format_name in provenance.FORMATS
    if has_place:
        result = replace(result, xmp=provenance.embed(result.xmp, record))
    plain = figures.bicubic(photo.image, width, height)
    return Reduced(
        data=files.encode(result, format_name),
        size=(width, height),
        origin=record if has_place else None,
        bicubic_bytes=len(files.encode(replace(result, image=plain), format_name)),
        round_trip_psnr_db=psnr,
    )


@dataclass(frozen=True)
class Recalled:
    """A small photograph, its record taken off, with the model and (height, width) for it.

    `chooser` is the record where it has chosen the model; `where` names the photograph.
    """

    photo: Photo
    model: Model
    size: tuple[int, int] | None
    origin: Origin | None
    chooser: Origin | None
    where: str


def recalled(
    models: Models,
    asked: str | None,
    photo: Photo,
    where: str,
    size: tuple[int, int] | None,
    *,
    obey_record: bool = True,
    formats: Sequence[str] = (),
) -> Recalled:
    """What a photograph's own record says of model and size, unless told otherwise.

    Args:
        models: opens them.
        asked: the model asked for, which wins over the record's.
        photo: as read.
        where: names it in warnings.
        size: the one asked for, which wins as well.
        obey_record: False takes the photograph as if it had no record.
        formats: that results will be written in, to refuse beforehand what they cannot hold.

    Raises:
        HcflowError: as `models.open`, and where a format cannot hold the large image.
    """
    record = provenance.extract(photo.xmp, where) if obey_record else None
    model, chooser = restore.open_for(record, asked, models, where)
    restore.check_pixels(record, photo.image, where)
    size = restore.size_for(record, photo.size, model, size, where)
    height, width = padding.target_size(photo.size[1], photo.size[0], model.scale, size)
    for format_name in formats:
        size_limits.check_sides(format_name, width, height)
    photo = replace(photo, xmp=provenance.remove(photo.xmp))
    return Recalled(photo, model, size, record, chooser, where)


@dataclass(frozen=True)
class Enlarged:
    """Large images, one a sample, the model that made them, and the small one's record, if any."""

    photos: list[Photo]
    model: Model
    origin: Origin | None


def enlarge(
    small: Recalled,
    options: Mapping[str, Any],
    gate: AbstractContextManager[object] | None = None,
) -> Enlarged:
    """Upscale a photograph; the results keep its metadata, not its record.

    Args:
        small: with what it is enlarged by.
        options: of `Model.upscale`; its size is `small`'s.
        gate: held while the model works.

    Raises:
        HcflowError: as `Model.upscale`.
    """
    with gate or contextlib.nullcontext(), restore.blaming(small.chooser, small.where):
        images = small.model.upscale(small.photo.image, **{**options, "size": small.size})
    images = [images] if options.get("samples", 1) == 1 else images
    photos = [replace(small.photo, image=image) for image in images]
    return Enlarged(photos, small.model, small.origin)


def record_of(
    model: Model,
    size: tuple[int, int],
    pixels: str | None,
    psnr: float | None,
    precision: Precision,
) -> Origin:
    """The record of a reduction of an image of `size` (width, height) in a precision."""
    return Origin(
        model=model.manifest.name,
        checkpoint=model.manifest.checkpoint.sha256,
        scale=model.scale,
        width=size[0],
        height=size[1],
        precision=precision,
        tau=model.default_tau,
        pixels=pixels,
        round_trip_psnr_db=psnr,
    )


def _round_trip(model: Model, photo: Photo, small: Any) -> float | None:
    if not any(graph.direction == "inverse" for graph in model.manifest.graphs):
        return None
    width, height = photo.size
    try:
        large = model.upscale(small, size=(height, width))
    except (BundleError, ImageError, ParameterError) as error:
        # An inverse in another precision only, or one that runs whole what was reduced in tiles.
        _logger.warning("the way back was not measured: %s", error)
        return None
    value = figures.psnr(photo.image, large)
    return round(value, 3) if math.isfinite(value) else None


def figures_of(reduced: Reduced) -> dict[str, Any]:
    """What `--json` says of a small image's file."""
    return {
        "size": list(reduced.size),
        "bytes": len(reduced.data),
        "bicubic_bytes": reduced.bicubic_bytes,
        "round_trip_psnr_db": reduced.round_trip_psnr_db,
        "origin_recorded": reduced.origin is not None,
    }
