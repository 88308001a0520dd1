"""When a file is converted by strips (`runtime.convert.large_file`): on request, or when large."""

from __future__ import annotations

import os

from runtime.convert.job import Job
from runtime.convert.journal import LONGEST_NAME
from runtime.convert.sizing import sizing_of
from runtime.errors import FileError, ImageError
from runtime.images.codecs import files, strips, vips

LARGE = {"upscale": 2_000_000, "downscale": 32_000_000}
"""Pixels of an input from which it is streamed where libvips is installed: about 32 million of the
HR image either way."""


def wants_strips(source: str, output: str, job: Job, format_name: str) -> bool:
    """Whether a file is to be streamed: as the job asks, or else because it is large and can be.

    Raises:
        ImageError: streaming was asked for and this image, format or option cannot be streamed.
        FileError: it was asked for and cannot write to this place.
        BackendError: it was asked for and libvips is not installed.
    """
    if job.strips is False or (job.salvage and job.strips is None):
        return False  # libvips salvages less than Pillow does
    found = strips.probe(source)
    unfit_options = ["tau_map"] if job.tau_map is not None else []
    unfit_options += ["samples"] if job.samples > 1 else []
    unfit_place = _unfit(output)
    can_write = format_name in vips.SAVERS
    if job.strips is None:
        size = 0 if found is None else found[1] * found[2]
        is_large = LARGE[job.direction] <= size <= job.max_pixels
        unfit_options += ["scale"] if is_large and _runs_twice(job, found) else []
        can_stream = not unfit_options and can_write and unfit_place is None
        return is_large and can_stream and vips.find() is not None
    vips.require("--strips")
    if unfit_options:
        raise ImageError(f"--strips does not work with {', '.join(unfit_options)}: leave one out")
    if not can_write:
        formats = ", ".join(vips.SAVERS)
        raise ImageError(f"--strips cannot write {format_name}: it writes {formats}")
    if unfit_place is not None:
        raise FileError(f"--strips cannot write '{output}': {unfit_place}")
    if found is None:
        files.read(
            source, job.max_pixels, salvage=job.salvage
        )  # says what is wrong; else it is another format
        raise ImageError(not_by_strips(source))
    return True


def _runs_twice(job: Job, found: tuple[str, int, int] | None) -> bool:
    """Whether a size is wanted that takes two runs, which strips do not make."""
    if found is None or (not job.wanted.given and job.size is None):
        return False
    scale = job.models.open(job.model).scale
    full = found[2] * scale, found[1] * scale
    return sizing_of(full, scale, job.wanted, job.size).runs > 1


def _unfit(output: str) -> str | None:
    """What keeps strips from being written to a place."""
    real = os.path.realpath(output)
    if os.path.exists(output) and not os.path.isfile(output):
        # It would be replaced by a file: strips are encoded beside it, then renamed.
        return "it is not a file"
    if not vips.takes(real):
        return "its name is not UTF-8"
    if len(os.fsencode(os.path.basename(real))) > LONGEST_NAME:
        return f"its name is longer than {LONGEST_NAME} bytes, so that a journal's would not fit"
    return None


def not_by_strips(source: str) -> str:
    """Why `strips.probe` found nothing in a sound file."""
    formats = ", ".join(strips.READ)
    return (
        f"--strips cannot read '{source}': it reads {formats} with one frame, in gray or RGB, "
        "named in UTF-8"
    )
