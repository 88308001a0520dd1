"""The names of results that were given none: `photo_x4.png` beside `photo.jpg`."""

from __future__ import annotations

import os
from pathlib import Path

from runtime.convert.job import Job
from runtime.errors import FileError, HcflowError
from runtime.images.codecs import files, opening, size_limits
from runtime.images.codecs.bounds import structure
from runtime.images.codecs.metadata import exif_xmp, provenance
from runtime.images.frames import tiff_pages

_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif", "JPEG2000": ".jp2"}

FORMAT = "PNG"
"""Format of a result that names none: lossless, and holds every depth and alpha."""


def suffix_of(format_name: str) -> str:
    """The usual suffix of a format's files."""
    return _SUFFIXES.get(format_name, f".{format_name.lower()}")


def has_several(path: str) -> bool:
    """Whether a GIF or TIFF has several frames or pages; whoever reads it says what is wrong."""
    try:
        with open(path, "rb") as file:
            if len(tiff_pages.pages(file, path)) > 1:
                return True
            file.seek(0)
            return files.frame_count(files.open_header(file, path), path) > 1
    except (HcflowError, OSError):
        return False


def beside(source: str, job: Job, format_name: str | None, ending: str | None) -> str:
    """The name of an image's result, in the folder of the image.

    Args:
        source: the image's file.
        job: what is done to it.
        format_name: of the result; None is `FORMAT`, or TIFF for a file of several pages.
        ending: comes after the image's name; None says what is done, as `_x4`.

    Raises:
        HcflowError: the model cannot be opened; the source has no name.
    """
    path = Path(source)
    if not path.stem:
        raise FileError(f"'{source}' gives a result no name: give one with -o")
    if format_name is None:
        has_pages = path.suffix.lower() in (".tif", ".tiff") and has_several(source)
        format_name = "TIFF" if has_pages else FORMAT
    if ending is None:
        ending = _ending(job, _recorded_scale(source, job))
    return str(path.with_name(path.stem + ending + suffix_of(format_name)))


def folder_beside(source: str, job: Job, ending: str | None) -> str:
    """The name of the folder of a folder's results: its sibling.

    Raises:
        HcflowError: the model cannot be opened; the folder has no sibling.
    """
    real = os.path.abspath(source)
    if not os.path.basename(real):
        raise FileError(f"'{source}' has no folder beside it: give one with -o")
    if ending is None:
        ending = _ending(job, job.models.open(job.model).scale)
    plain = source.rstrip(os.sep)
    shown = plain if os.path.basename(plain) not in ("", os.curdir, os.pardir) else real
    return shown + ending


def _ending(job: Job, network_scale: int) -> str:
    """What is done to an image, as its result's name says it."""
    if job.direction == "downscale":
        return f"_down{network_scale}"
    if job.size is not None:
        return f"_{job.size[1]}x{job.size[0]}"
    wanted = job.wanted
    if wanted.width is not None:
        return f"_w{wanted.width}"
    if wanted.height is not None:
        return f"_h{wanted.height}"
    if wanted.max_side is not None:
        return f"_max{wanted.max_side}"
    return f"_x{network_scale if wanted.scale is None else wanted.scale:g}"


@size_limits.any_size()
def _recorded_scale(source: str, job: Job) -> int:
    """The scale of the model that will take an image: its record's, else the job's."""
    default = job.models.open(job.model).scale
    if job.model is not None or job.direction == "downscale" or not job.obey_record:
        return default
    try:
        with open(source, "rb") as file:
            structure.check(file, source)
            image = opening.open_image(file, provenance.FORMATS)
            record = provenance.extract(exif_xmp.xmp_of(image), f"'{source}'")
        found = None if record is None else job.models.find(record.checkpoint)
    except Exception:  # no such model, or a damaged file: whoever upscales it says what is wrong
        return default
    return default if record is None or found is None else record.scale
