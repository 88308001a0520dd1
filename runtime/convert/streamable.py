"""When a file is converted by strips (`runtime.convert.large_file`): on request, or when large."""

from __future__ import annotations

import os

from runtime.convert.job import Job
from runtime.convert.journal import LONGEST_NAME
from runtime.errors import ImageError
from runtime.images import files, strips, vips

AT_ONCE = {"upscale": 2_000_000, "downscale": 32_000_000}
"""Pixels of an input from which it is streamed where libvips is installed: about 32 million of the
large side either way."""

_STREAMED = frozenset({"tau", "seed", "samples", "size", "tile", "overlap", "report"})


def wants_strips(source: str, output: str, job: Job, format_name: str) -> bool:
    """Whether a file is to be streamed: as the job asks, or else because it is large and can be.

    Raises:
        ImageError: streaming was asked for and this file, result or option cannot be streamed.
        BackendError: it was asked for and libvips is not installed.
    """
    if job.strips is False:
        return False
    found = strips.probe(source)
    extra = [k for k, v in job.options.items() if k not in _STREAMED and v is not None]
    extra += ["samples"] if job.options.get("samples", 1) > 1 else []
    unfit = _unfit(output)
    can_write = format_name in vips.SAVERS
    if job.strips is None:
        size = 0 if found is None else found[1] * found[2]
        is_large = AT_ONCE[job.direction] <= size <= job.max_pixels
        return is_large and not extra and can_write and unfit is None and vips.find() is not None
    vips.require("working by strips")
    if extra:
        raise ImageError(f"strips do not go with {', '.join(extra)}: leave that out, or --strips")
    if not can_write:
        raise ImageError(f"{format_name} is not written by strips: {', '.join(vips.SAVERS)} are")
    if unfit is not None:
        raise ImageError(f"'{output}' {unfit}: leave out --strips")
    if found is None:
        files.read(source, job.max_pixels)  # says what is wrong; else it is another format
        raise ImageError(not_by_strips(source))
    return True


def _unfit(output: str) -> str | None:
    """What keeps strips from being written to a place."""
    if os.path.exists(output) and not os.path.isfile(output):
        # It would be replaced by a file: strips are encoded beside it, then renamed.
        return "is no file, which strips are written to"
    if not vips.takes(os.path.realpath(output)):
        return "is not named in UTF-8, as strips need it"
    if len(os.fsencode(os.path.basename(os.path.realpath(output)))) > LONGEST_NAME:
        return f"has a name of more than {LONGEST_NAME} bytes, beside which no journal's would fit"
    return None


def not_by_strips(source: str) -> str:
    """Why `strips.probe` found nothing in a sound file."""
    formats = ", ".join(strips.READ)
    kind = f"{formats} of one frame in gray or RGB, named in UTF-8,"
    return f"'{source}' is not read by strips: {kind} are"
