"""What an LR image's own record (`codecs.metadata.provenance`) decides: model and exact size."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from runtime.convert.job import Job
from runtime.convert.sizing import Sizing, check_hr_size, padding_cut, sizing_of
from runtime.errors import BundleError, ImageError
from runtime.images.codecs import size_limits
from runtime.images.codecs.formats import Photo
from runtime.images.codecs.metadata import provenance
from runtime.images.codecs.metadata.provenance import Provenance
from runtime.images.pixels import padding
from runtime.model import Model

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Restoration:
    """What an LR image is upscaled with.

    Attributes:
        model: that upscales it.
        size: exact (height, width) that the network's result is cut to, or None.
        sizing: how the result gets its size.
        record: the image's record, if it has one.
        chooser: the record where that has chosen the model.
        where: names the image in messages.
    """

    model: Model
    size: tuple[int, int] | None
    sizing: Sizing
    record: Provenance | None
    chooser: Provenance | None
    where: str

    @property
    def network_size(self) -> tuple[int, int]:
        """(height, width) of what the network's last run gives."""
        return self.sizing.network_size(self.model.scale)

    def blame_record(self) -> contextlib.AbstractContextManager[None]:
        """`blame_record` for the record that has chosen the model."""
        return blame_record(self.chooser, self.where)


def restoration(
    job: Job, lr_size: tuple[int, int], xmp: bytes | None, where: str, formats: Sequence[str] = ()
) -> Restoration:
    """Choose the model and size for an LR image: those of the job, else those of its record.

    Args:
        job: an upscale.
        lr_size: width and height of the LR image.
        xmp: its XMP packet.
        where: names it in messages.
        formats: that results will be written in, to refuse beforehand what they cannot hold.

    Raises:
        HcflowError: as `job.models.open`, and where a format cannot hold the result, or it is
            larger than the job allows.
    """
    record = provenance.extract(xmp, where) if job.obey_record else None
    name = model_for(record, job, where)
    chooser = None if name == job.model else record
    with blame_record(chooser, where):
        model = job.models.open(name)
    crop = padding_cut(lr_size, model.scale, job.size)
    size = size_for(record, lr_size, model, crop, where)
    full = padding.target_size(lr_size[1], lr_size[0], model.scale, size)
    sizing = sizing_of(full, model.scale, job.wanted, job.size)
    check_hr_size(sizing.network_size(model.scale), job.hr_pixels, where)
    for format_name in formats:
        size_limits.check_sides(format_name, sizing.target[1], sizing.target[0])
    return Restoration(model, size, sizing, record, chooser, where)


def restoration_of(job: Job, photo: Photo, where: str, formats: Sequence[str] = ()) -> Restoration:
    """`restoration` for an image in memory; warns when it was edited."""
    found = restoration(job, photo.size, photo.xmp, where, formats)
    check_pixels(found.record, photo.image, where)
    return found


def model_for(record: Provenance | None, job: Job, where: str) -> str | None:
    """The model to upscale an image with: the one asked for, else the one that made it.

    None is the default, also where the one that made the image is not found; `size_for` then warns.

    Raises:
        ImageError: a shipped model made it, which cannot be built here.
    """
    if job.model is not None or record is None:
        return job.model
    with blame_record(record, where):
        return job.models.find(record.checkpoint)


@contextlib.contextmanager
def blame_record(chooser: Provenance | None, where: str) -> Iterator[None]:
    """Turn a fault of a model that a record has chosen into an error of that image alone.

    Args:
        chooser: the record; None for a model asked for, or the default, whose faults stay.
        where: names the image.

    Raises:
        ImageError: in place of a `BundleError`, which would say that every other image fails too.
    """
    try:
        yield
    except BundleError as error:
        if chooser is None:
            raise
        raise ImageError(f"{where} was made by model '{chooser.model}': {error}") from error


def size_for(
    record: Provenance | None,
    lr_size: tuple[int, int],
    model: Model,
    asked: tuple[int, int] | None,
    where: str,
) -> tuple[int, int] | None:
    """The (height, width) to restore, with warnings for what does not fit the record.

    Args:
        record: of the image, or None.
        lr_size: the image's width and height.
        model: the one that will upscale it.
        asked: a size the user asked for, which wins; or None.
        where: names the image in warnings.
    """
    if record is None:
        return asked
    if model.manifest.checkpoint.sha256 != record.checkpoint:
        _logger.warning(
            "%s was made by model '%s' (checkpoint %s…), which is not '%s': give its bundle with "
            "--model",
            *(where, record.model, record.checkpoint[:12], model.manifest.name),
        )
    if asked is not None:
        return asked
    fits = model.scale == record.scale and lr_size == (
        -(-record.width // record.scale),
        -(-record.height // record.scale),
    )
    if not fits:
        _logger.warning(
            "%s is %d×%d, not what downscaling %d×%d by %d gives: its exact size is not restored",
            *(where, *lr_size, record.width, record.height, record.scale),
        )
        return None
    return record.height, record.width


def check_pixels(record: Provenance | None, image: Any, where: str) -> None:
    """Warn when the pixels are not those that were written with the record."""
    if record is not None and record.pixels not in (None, provenance.digest(image)):
        _logger.warning("%s was edited after '%s' made it", where, record.model)
