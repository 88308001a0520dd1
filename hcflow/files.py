"""One image file converted into another, as the commands do it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hcflow.models import shipped
from hcflow.models.load import Models, computation
from runtime.errors import ParameterError
from runtime.system.arguments import file_name, flag, whole

if TYPE_CHECKING:
    from runtime.convert.job import Direction

_LOAD = ("backend", "precision", "threads", "io", "compile_engines")
_TILING = ("tile", "overlap")
_FLAGS = {"exact", "round_trip", "obey_record", "strips", "force", "salvage", "compile_engines"}
_JOB = ("max_pixels", "round_trip", "obey_record", "strips", "force", "salvage", "cancel")


def upscale_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Upscale an image file into another, as `hcflow upscale` does; see docs/files.md.

    Model and size are those that the file's own record names, unless given; a file without a record
    is enlarged by `sr_x4`. The fastest backend and precision here within the budgets compute it,
    unless given; with `exact` fp32 in ONNX Runtime, the same bytes on every machine of a kind.

    Args:
        source: an image file (docs/files.md, 1).
        output: the file to write, whole or not at all; the format by its suffix.
        model: as for `load`.
        **options: `backend`, `precision`, `threads`, `io` of `load`, or `exact`; `tau`, `seed`,
            `size`, `tile`, `overlap`, `cancel` of `Model.upscale`; `strips`, `max_pixels`,
            `obey_record`, `force`, `salvage`.

    Returns:
        `model` (its name) and `size` [width, height].

    Raises:
        HcflowError: it cannot be read, computed or written, or the output is the input; `Cancelled`
            where `cancel` said so, and then nothing is left of the result.
        OSError: the disk is full or not writable.
    """
    return convert_path("upscale", source, output, model, options)


def downscale_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Downscale an image file into another that knows how it was made, as `hcflow downscale` does.

    Args:
        source: as for `upscale_file`.
        output: as for `upscale_file`.
        model: as for `load`.
        **options: `backend`, `precision`, `threads`, `io` of `load`, or `exact`; `tile`,
            `overlap`, `cancel` of `Model.downscale`; `round_trip`, `strips`, `max_pixels`,
            `force`, `salvage`.

    Returns:
        `model`, `size`, and where the image was not streamed `bytes`, `bicubic_bytes`,
        `round_trip_psnr_db` and `origin_recorded`.

    Raises:
        HcflowError, OSError: as `upscale_file`.
    """
    return convert_path("downscale", source, output, model, options)


def convert_path(
    direction: Direction,
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    model: str | os.PathLike[str] | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """`upscale_file` or `downscale_file`, whose Args, Returns and Raises hold."""
    # Imported here: `import hcflow` is quick.
    from runtime.convert.file import convert_file
    from runtime.convert.job import Job
    from runtime.images.codecs import files
    from runtime.inference.grid import Tiling

    job_options = {*_JOB, *(("tau", "seed", "size") if direction == "upscale" else ())}
    if unknown := sorted(options.keys() - {*_LOAD, "exact", *_TILING, *job_options}):
        raise ParameterError(f"unknown option '{unknown[0]}' of {direction}_file")
    if "max_pixels" in options:
        options = {**options, "max_pixels": whole("max_pixels", options["max_pixels"], 1)}
    for name in _FLAGS & options.keys():
        flag(name, options[name])
    exact = bool(options.get("exact", False))
    if exact and (clash := sorted(options.keys() & {"backend", "precision"})):
        raise ParameterError(f"exact decides the {clash[0]}: give one or the other")
    load = {**computation(exact), **{k: options[k] for k in _LOAD if k in options}}
    default = shipped.UPSCALES if direction == "upscale" else shipped.DEFAULT
    job = Job(
        direction,
        Models(load, default),
        None if model is None else file_name("model", model),
        tiling=Tiling(**{k: options[k] for k in _TILING if k in options}),
        **{k: options[k] for k in job_options if k in options},
    )
    source, output = file_name("source", source), file_name("output", output)
    return convert_file(source, output, files.format_of(output), job, contextlib.nullcontext())
