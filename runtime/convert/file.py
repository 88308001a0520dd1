"""One file converted into another: what folders' workers and the Python API share."""

from __future__ import annotations

import errno
import os
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from runtime.convert import image as convert
from runtime.convert import large_file, streamable
from runtime.convert.job import Direction, Job
from runtime.errors import FileError
from runtime.images import files
from runtime.model import Model
from runtime.system import atomic

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Error numbers of a disk that takes no more."""


def rehearse(model: Model, direction: Direction) -> None:
    """Run a model on the smallest image, so that what ails it shows before any work is done."""
    side = 1 if direction == "upscale" else model.scale
    dot = np.zeros((side, side, 3), np.uint8)
    if direction == "upscale":
        model.upscale(dot)
    else:
        model.downscale(dot)


def convert_file(
    source: str,
    output: str,
    format_name: str,
    job: Job,
    gate: AbstractContextManager[object],
) -> dict[str, Any]:
    """Take one file down or up, whole or not at all; the result's figures by name.

    Raises:
        HcflowError: it cannot be read, computed or written, or the output is the input.
        OSError: the disk is full or not writable.
    """
    if not job.force and os.path.exists(output) and os.path.samefile(source, output):
        raise FileError(f"'{output}' is the input itself: --force overwrites it")
    atomic.check_place(output)
    if streamable.wants_strips(source, output, job, format_name):
        with gate:
            streamed = large_file.convert(job, source, output, format_name)
        return {"model": streamed.model.manifest.name, "size": list(streamed.size)}
    photo = files.read(source, job.max_pixels)
    files.check_mode(photo.result_mode, format_name)
    if job.direction == "downscale":
        model = job.models.open(job.model)
        with gate:
            reduced = convert.reduce(
                model, photo, format_name, round_trip=job.round_trip, options=job.options
            )
        atomic.write(output, reduced.data)
        return {"model": model.manifest.name, **convert.figures_of(reduced)}
    small = convert.recalled(
        job.models,
        job.model,
        photo,
        f"'{source}'",
        job.options.get("size"),
        obey_record=job.obey_record,
        formats=(format_name,),
    )
    result = convert.enlarge(small, job.options, gate)
    (photo,) = result.photos
    files.write(photo, output, format_name)
    return {"model": result.model.manifest.name, "size": list(photo.size)}
