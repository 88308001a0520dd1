"""Files of several frames converted frame by frame: animations, and the pages of a TIFF.

Only one frame is in memory at a time, beside the file that is read. Every frame has the same
latents; frames with the same pixels are computed once.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import math
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
from PIL import Image

from runtime.convert import image
from runtime.convert.job import Job
from runtime.convert.large_file import Converted, converted
from runtime.convert.restore import restoration_of
from runtime.convert.sizing import check_hr_size
from runtime.errors import ImageError
from runtime.images.codecs import files, formats, size_limits
from runtime.images.codecs.bounds import whole_file
from runtime.images.codecs.formats import Photo
from runtime.images.codecs.lossy import Lossy
from runtime.images.codecs.metadata import provenance
from runtime.images.codecs.metadata.provenance import Provenance
from runtime.images.frames import animation, encode, tiff_pages
from runtime.images.frames.animation import Animation
from runtime.images.frames.tiff_pages import Joiner, Page
from runtime.inference.cancel import check_of
from runtime.inference.report import Report
from runtime.latents import fixed_seed
from runtime.model import Model

_LOSSLESS = ("PNG", "WEBP")  # formats that give frames back as they were written

Progress = Callable[[int, int], None]
"""Called with (frames finished, frames in all)."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FramesMade:
    """A finished file.

    Attributes:
        frames: or pages, how many.
        first: the first of them.
    """

    frames: int
    first: Converted

    def as_json(self) -> dict[str, Any]:
        """What `--json` says of it."""
        runs = {"runs": self.first.runs} if self.first.runs > 1 else {}
        return {"size": list(self.first.size), "frames": self.frames, **runs}


@dataclass(frozen=True)
class SeveralFrames:
    """A file of several frames, to be converted into a format that holds them.

    Attributes:
        data: the file's bytes.
        where: names it in messages.
        number: of frames or pages.
        pages: of a TIFF; empty for an animation.
    """

    data: bytes
    where: str
    number: int
    pages: tuple[Page, ...]


def find(source: str | bytes, where: str, job: Job, format_name: str) -> SeveralFrames | None:
    """The frames of a file, where it has several and the format of the result holds them.

    Args:
        source: the file's path, or its bytes.
        where: names it in messages.
        job: the conversion.
        format_name: of the result.

    Raises:
        ImageError: not an image; an animation larger than `job.max_pixels`, all frames together; or
            several samples are asked for.
    """
    if format_name not in encode.FORMATS:
        return None
    if isinstance(source, bytes):
        return _found(io.BytesIO(source), where, job, format_name)
    if not os.path.isfile(source):  # what is read from a pipe is gone
        return None
    try:
        with open(source, "rb") as file:
            return _found(file, where, job, format_name)
    except OSError:  # whoever reads it as one image says what is wrong
        return None


def _found(file: IO[bytes], where: str, job: Job, format_name: str) -> SeveralFrames | None:
    pages = tuple(tiff_pages.pages(file, where))
    if pages:
        number = len(pages) if format_name == "TIFF" else 1
    else:
        file.seek(0)
        number = animation.count(file, where, job.max_pixels, salvage=job.salvage)
    if number == 1:
        return None
    if job.samples > 1:
        raise ImageError(f"{where} has {number} frames: several samples are drawn of one frame")
    whole_file.check_size(file.seek(0, os.SEEK_END), where, job.max_pixels)
    file.seek(0)
    return SeveralFrames(file.read(), where, number, pages)


def convert(
    job: Job,
    several: SeveralFrames,
    file: IO[bytes],
    format_name: str,
    *,
    gate: AbstractContextManager[object] | None = None,
    report: Report | None = None,
    progress: Progress | None = None,
) -> FramesMade:
    """Upscale or downscale every frame into a file of one format.

    Args:
        job: of one sample; a seed that is to be drawn is drawn once.
        several: from `find` for this job and format.
        file: to write: empty, and can be sought.
        format_name: of it.
        gate: held while the model works.
        report: filled while the frames are computed.
        progress: called after every frame.

    Raises:
        HcflowError: a frame cannot be read or computed, or the format cannot hold it.
    """
    work = _Work(
        replace(job, seed=fixed_seed(job.seed)),
        several.where,
        format_name,
        gate or contextlib.nullcontext(),
        report or Report(),
        progress or (lambda _done, _all: None),
    )
    if several.pages:
        return _convert_pages(work, several, file)
    frames = animation.read(several.data, several.where, several.number, salvage=job.salvage)
    warn_of_losses(several.where, format_name, several.number)
    return _convert_animation(work, frames, file)


def warn_of_losses(where: str, format_name: str, frames: int = 1) -> None:
    """Log what a format loses of an image or animation, whatever is in it."""
    if frames == 1 and format_name != "GIF":  # which is the only one to lose some of a still
        return
    if format_name in encode.LOST:
        lost = encode.LOST[format_name]
        _logger.warning("%s: %s keeps %s; PNG and WebP lose nothing", where, format_name, lost)


@dataclass(frozen=True)
class _Work:
    """What every frame of a file needs."""

    job: Job
    where: str
    format_name: str
    gate: AbstractContextManager[object]
    report: Report
    progress: Progress


def _convert_animation(work: _Work, frames: Animation, file: IO[bytes]) -> FramesMade:
    job, first = work.job, frames.first
    usual = first.lossy if job.direction == "upscale" else Lossy()
    lossy = replace(usual, quality=job.quality, png_level=job.png_level)
    like = replace(first, xmp=provenance.remove(first.xmp), lossy=lossy)
    if job.direction == "upscale":
        assert isinstance(first.image, Image.Image)
        as_recorded = replace(first, image=_as_recorded(first.image))
        restoration = restoration_of(job, as_recorded, work.where, (work.format_name,))
        check_hr_size(restoration.network_size, job.hr_pixels, work.where, len(frames.digests))

        def compute(frame: Image.Image) -> Image.Image:
            photo = replace(first, image=frame)
            (large,) = image.upscale(job, photo, restoration, gate=work.gate, report=work.report)
            assert isinstance(large.image, Image.Image)
            return large.image
    else:
        model = job.models.open(job.model)
        size = [-(-side // model.scale) for side in first.size]
        size_limits.check_sides(work.format_name, *size)

        def compute(frame: Image.Image) -> Image.Image:
            options = {**job.tiling_options(), "report": work.report, "cancel": job.cancel}
            with work.gate:
                small: Image.Image = model.downscale(frame, **options)
            return small

    made = _computed(work, frames, compute)
    start = next(made)
    if job.direction == "upscale":
        result = converted(start.size, restoration)
    else:
        record = _record(work, model, first, start)
        result = Converted(start.size, model, record)
        if record is not None:
            like = replace(like, xmp=provenance.embed(like.xmp, record))
    with contextlib.closing(made):
        every = itertools.chain([start], made)
        encode.encode(file, every, frames.timing, like, work.format_name)
    return FramesMade(len(frames.digests), result)


def _computed(
    work: _Work, frames: Animation, compute: Callable[[Image.Image], Image.Image]
) -> Generator[Image.Image]:
    """The result of every frame; one that is needed again waits in a file."""
    check = check_of(work.job.cancel)
    again = Counter(frames.digests)
    result: Image.Image | None = None
    with tempfile.TemporaryFile() as spool:
        places: dict[bytes, tuple[int, int]] = {}
        for index, (digest, frame) in enumerate(zip(frames.digests, frames.frames(), strict=True)):
            check()
            again[digest] -= 1
            if result is not None and digest in places:
                place, length = places[digest]
                spool.seek(place)
                result = Image.frombytes(result.mode, result.size, spool.read(length))
            else:
                result = compute(frame)
                if again[digest]:
                    data = result.tobytes()
                    places[digest] = spool.seek(0, io.SEEK_END), len(data)
                    spool.write(data)
            yield result
            work.progress(index + 1, len(frames.digests))


def _record(work: _Work, model: Model, original: Photo, small: Image.Image) -> Provenance | None:
    """The record of an animation, by its first frame; its round trip is not measured."""
    if work.format_name not in provenance.FORMATS:
        return None
    if small.mode == "L" and work.format_name != "PNG":  # which has no gray
        small = small.convert("RGB")
    is_lossy_webp = work.format_name == "WEBP" and work.job.quality is not None
    is_kept = work.format_name in _LOSSLESS and not is_lossy_webp
    pixels = provenance.digest(_as_recorded(small)) if is_kept else None
    precision = work.report.precision
    assert precision is not None
    return image.record_of(model, original.size, pixels, None, precision)


def _as_recorded(frame: Image.Image) -> Image.Image:
    """A frame as its record counts it: nothing under full transparency, which WebP drops.

    Without alpha where all of it is opaque: another frame may have holes, and then all have alpha.
    """
    if frame.mode != "RGBA":
        return frame
    if animation.is_opaque(frame):
        return frame.convert("RGB")
    pixels = np.array(frame)
    pixels[pixels[..., 3] == 0] = 0
    return Image.fromarray(pixels)


def _convert_pages(work: _Work, several: SeveralFrames, file: IO[bytes]) -> FramesMade:
    """Every page on its own, with its own record, size and metadata."""
    joiner = Joiner(file, work.where)
    check = check_of(work.job.cancel)
    first, job = None, work.job
    for index, page in enumerate(several.pages):
        where = f"{work.where}, page {index + 1}"
        data = tiff_pages.single(several.data, page)
        photo = files.decode(data, where, work.job.max_pixels, salvage=work.job.salvage)
        check()
        formats.check_mode(photo.result_mode, "TIFF")
        made, result, taken = _convert_page(replace(work, job=job), photo, where)
        if job.hr_pixels is not None:
            job = replace(job, hr_pixels=job.hr_pixels - taken)
        first = first or made
        joiner.append(result)
        work.progress(index + 1, several.number)
    assert first is not None
    return replace(first, frames=several.number)


def _convert_page(work: _Work, photo: Photo, where: str) -> tuple[FramesMade, bytes, int]:
    """A page, its file, and the pixels of its HR side."""
    job = work.job
    if job.direction == "downscale":
        model = job.models.open(job.model)
        taken = check_hr_size((photo.size[1], photo.size[0]), job.hr_pixels, where)
        with work.gate:
            small = image.downscale(job, model, photo, "TIFF", work.report)
        return FramesMade(1, Converted(small.size, model, small.record)), small.data, taken
    found = restoration_of(job, photo, where, ("TIFF",))
    (large,) = image.upscale(job, photo, found, gate=work.gate, report=work.report)
    made = FramesMade(1, converted(large.size, found))
    return made, formats.encode(large, "TIFF"), math.prod(found.network_size)
