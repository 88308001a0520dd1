"""One image file converted into another, as the commands do it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hcflow.models import shipped
from hcflow.models.load import Models, computation
from runtime.errors import FileError, ParameterError
from runtime.system.arguments import file_name, flag, one_of, whole

if TYPE_CHECKING:
    from runtime.convert.job import Direction

_LOAD = ("backend", "precision", "threads", "io", "compile_engines")
_TILING = ("tile", "overlap")
_FLAGS = {"exact", "round_trip", "obey_record", "strips", "force", "salvage", "compile_engines"}
_SIZES = ("scale", "width", "height", "max_side")
_NAMING = ("format", "suffix")
_JOB = (
    "quality",
    "max_pixels",
    "round_trip",
    "obey_record",
    "strips",
    "force",
    "salvage",
    "cancel",
)


def upscale_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
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
        output: the file to write, whole or not at all; None is `NAME_x4.png` beside the source, as
            `hcflow upscale` names it, where no such file is yet.
        model: as for `load`.
        **options: `backend`, `precision`, `threads`, `io` of `load`, or `exact`; `tau`, `seed`,
            `tile`, `overlap`, `cancel` of `Model.upscale`; one of `size` (height, width), `scale`,
            `width`, `height`, `max_side` of the result; `quality` (1 to 100) of a JPEG, WebP or
            AVIF; `format`, by default the suffix's; `suffix` of a name that is made; `strips`,
            `max_pixels`, `obey_record`, `force`, `salvage`.

    Returns:
        `model` (its name) and `size` [width, height]; `runs` of the network above one; `output`
        where none was given; `frames` of an animation, or pages of a TIFF.

    Raises:
        HcflowError: it cannot be read, computed or written, or the output is the input; `Cancelled`
            where `cancel` said so, and then nothing is left of the result.
        OSError: the disk is full or not writable.
    """
    return convert_path("upscale", source, output, model, options)


def downscale_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
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
            `force`, `salvage`, `quality`, `format`, `suffix`.

    Returns:
        `model`, `size`, `frames` as `upscale_file`, `output`; of one image that was not streamed
        `bytes`, `bicubic_bytes`, `round_trip_psnr_db` and `origin_recorded`.

    Raises:
        HcflowError, OSError: as `upscale_file`.
    """
    return convert_path("downscale", source, output, model, options)


def convert_path(
    direction: Direction,
    source: str | os.PathLike[str],
    output: str | os.PathLike[str] | None,
    model: str | os.PathLike[str] | None,
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """`upscale_file` or `downscale_file`, whose Args, Returns and Raises hold."""
    # Imported here: `import hcflow` is quick.
    from runtime.convert import naming
    from runtime.convert.file import convert_file
    from runtime.convert.job import Job
    from runtime.convert.sizing import WantedSize, exact_size
    from runtime.images.codecs import formats, lossy
    from runtime.inference.grid import Tiling

    job_options = {*_JOB, *(("tau", "seed", "size") if direction == "upscale" else ())}
    sizes = {k: options[k] for k in _SIZES if k in options and direction == "upscale"}
    known = {*_LOAD, "exact", *_TILING, *_NAMING, *job_options, *sizes}
    if unknown := sorted(options.keys() - known):
        raise ParameterError(f"unknown option '{unknown[0]}' of {direction}_file")
    if "max_pixels" in options:
        options = {**options, "max_pixels": whole("max_pixels", options["max_pixels"], 1)}
    if options.get("quality") is not None:
        options = {**options, "quality": whole("quality", options["quality"], 1, 100)}
    if options.get("size") is not None:
        options = {**options, "size": exact_size(options["size"])}
        if sizes:
            raise ParameterError(f"size and {' and '.join(sizes)}: give one of them")
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
        wanted=WantedSize(**sizes),
        tiling=Tiling(**{k: options[k] for k in _TILING if k in options}),
        **{k: options[k] for k in job_options if k in options},
    )
    source = file_name("source", source)
    format_name = options.get("format")
    if format_name is not None:
        names = {name.lower(): name for name in formats.FORMATS}
        format_name = names[one_of("format", str(format_name).lower(), tuple(names))]
    is_named = output is not None
    if output is None:
        output = naming.beside(source, job, format_name, options.get("suffix"))
        if os.path.lexists(output) and not job.force:
            raise FileError(f"'{output}' exists: give an output, or force")
    output = file_name("output", output)
    format_name = format_name or formats.format_of(output)
    if job.quality is not None and format_name not in lossy.FORMATS:
        raise ParameterError(f"quality is for {', '.join(lossy.FORMATS)}: {format_name} has none")
    done = convert_file(source, output, format_name, job, contextlib.nullcontext())
    return done if is_named else {"output": output, **done}
