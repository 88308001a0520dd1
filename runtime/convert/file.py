"""One file converted into another: what folders' workers and the Python API share."""

from __future__ import annotations

import errno
import io
import os
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from runtime.convert import frames, image, large_file, streamable
from runtime.convert.job import Job
from runtime.convert.large_file import Converted
from runtime.convert.restore import restoration_of
from runtime.errors import FileError
from runtime.images.codecs import files, formats
from runtime.images.codecs.formats import Photo
from runtime.inference.cancel import check_of
from runtime.system import atomic

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Error numbers of a disk that takes no more."""


def try_model(job: Job) -> None:
    """Run a job's model on the smallest image, so that a fault of it shows before any work.

    Raises:
        HcflowError: it cannot be opened or run.
    """
    model = job.models.open(job.model)
    if job.direction == "upscale":
        model.upscale(np.zeros((1, 1, 3), np.uint8))
    else:
        model.downscale(np.zeros((model.scale, model.scale, 3), np.uint8))


def is_same_file(first: str, second: str) -> bool:
    """Whether two names are of one file that exists."""
    return os.path.exists(first) and os.path.exists(second) and os.path.samefile(first, second)


def convert_file(
    source: str, output: str, format_name: str, job: Job, gate: AbstractContextManager[object]
) -> dict[str, Any]:
    """Upscale or downscale one file, whole or not at all; facts of the result by name.

    Args:
        source: the image's file.
        output: the file to write.
        format_name: of it.
        job: of one sample.
        gate: held while the model works.

    Raises:
        HcflowError: it cannot be read, computed or written, or the output is the input.
        OSError: the disk is full or not writable.
    """
    if not job.force and is_same_file(source, output):
        raise FileError(f"'{output}' is the input itself: --force overwrites it")
    atomic.check_place(output)
    check = check_of(job.cancel)
    check()
    if streamable.wants_strips(source, output, job, format_name):
        with gate:
            streamed = large_file.convert(job, source, output, format_name)
        return _facts(streamed)
    several = frames.find(source, f"'{source}'", job, format_name)
    if several is not None:
        with atomic.output_file(output) as file:
            made = frames.convert(job, several, file, format_name, gate=gate)
        return {"model": made.first.model.manifest.name, **made.as_json()}
    photo = files.read(source, job.max_pixels, salvage=job.salvage)
    data, facts = _convert_photo(photo, f"'{source}'", format_name, job, gate)
    atomic.write(output, data)
    return facts


def convert_data(
    data: bytes, where: str, format_name: str, job: Job, gate: AbstractContextManager[object]
) -> tuple[bytes, dict[str, Any]]:
    """Upscale or downscale the bytes of a file, in memory, into those of another.

    Args:
        data: the file's bytes.
        where: names it in messages.
        format_name: of the result.
        job: of one sample.
        gate: held while the model works.

    Returns:
        The result's bytes, and facts of it by name as `convert_file` gives them.

    Raises:
        HcflowError: it cannot be read, computed or written.
    """
    check_of(job.cancel)()
    several = frames.find(data, where, job, format_name)
    if several is not None:
        file = io.BytesIO()
        made = frames.convert(job, several, file, format_name, gate=gate)
        return file.getvalue(), {"model": made.first.model.manifest.name, **made.as_json()}
    photo = files.decode(data, where, job.max_pixels, salvage=job.salvage)
    return _convert_photo(photo, where, format_name, job, gate)


def _convert_photo(
    photo: Photo, where: str, format_name: str, job: Job, gate: AbstractContextManager[object]
) -> tuple[bytes, dict[str, Any]]:
    check = check_of(job.cancel)
    check()
    formats.check_mode(photo.result_mode, format_name)
    frames.warn_of_losses(where, format_name)
    if job.direction == "downscale":
        model = job.models.open(job.model)
        with gate:
            small = image.downscale(job, model, photo, format_name)
        check()
        return small.data, {"model": model.manifest.name, **small.as_json()}
    restoration = restoration_of(job, photo, where, (format_name,))
    (large,) = image.upscale(job, photo, restoration, gate=gate)
    check()
    data = formats.encode(large, format_name)
    return data, _facts(large_file.converted(large.size, restoration))


def _facts(made: Converted) -> dict[str, Any]:
    runs = {"runs": made.runs} if made.runs > 1 else {}
    return {"model": made.model.manifest.name, "size": list(made.size), **runs}
