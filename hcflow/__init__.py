"""HCFlow in production: load a model, upscale and downscale images.

    import hcflow

    model = hcflow.load()
    small = model.downscale(image)
    large = model.upscale(small, tau=0.0)

Importing this needs NumPy and Pillow only; a backend is imported when a graph is first run.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import runtime
from runtime import (
    BackendError,
    BundleError,
    HcflowError,
    ImageError,
    Model,
    ParameterError,
)

__version__ = "0.1.0"

_logger = logging.getLogger(__name__)

__all__ = [
    "BackendError",
    "BundleError",
    "HcflowError",
    "ImageError",
    "Model",
    "ParameterError",
    "downscale_file",
    "load",
    "upscale_file",
]


def load(
    path_or_name: str | os.PathLike[str] | None = None,
    *,
    compile_engines: bool = False,
    **options: Any,
) -> Model:
    """Open a model by its bundle's folder or its name; None is the shipped default.

    Args:
        path_or_name: see `hcflow.models.shipped.resolve`; a default that is not built yet
            is built once, in INT8 too where `precision` takes that.
        compile_engines: first make, in the user's cache, the engines that a GPU backend or `auto`
            lacks on this machine.
        **options: `backend`, `precision`, `threads` and `io` of `runtime.load`.

    Raises:
        HcflowError: no such model, or it cannot be opened; see `runtime.load`.
    """
    from hcflow.models.shipped import resolve

    name = None if path_or_name is None else os.fspath(path_or_name)
    path = resolve(name)
    model = runtime.load(path, **options)
    if _added_int8(path, model, options):
        model = runtime.load(path, **options)
    if compile_engines:
        from hcflow.models.engines import ensure

        precision = options.get("precision")
        ensure(
            runtime.Bundle.open(path),
            options.get("backend", "onnxruntime"),
            "fp32" if precision in (None, "auto") else precision,
        )
    return model


def _added_int8(path: Path, model: Model, options: dict[str, Any]) -> bool:
    """Build a shipped model in INT8 where that is asked for, or is what `auto` would take."""
    precision = options.get("precision")
    if precision not in ("int8", "auto") or options.get("io") == "uint8":
        return False
    if any(graph.precision == "int8" for graph in model.manifest.graphs):
        return False
    from hcflow.models.shipped import ensure_int8
    from runtime.backends import auto
    from runtime.inference import auto_precision
    from runtime.system import machine

    if precision == "int8":
        ensure_int8(path)
        return True
    backend = auto.name(model.network.backend)
    if not auto_precision.prefers_int8(backend, machine.cpu_flags()):
        return False
    try:
        ensure_int8(path)
    except (HcflowError, OSError) as error:
        _logger.warning("%s; going on in fp32", error)
    return True


def upscale_file(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Upscale an image file into another, as `hcflow upscale` does; see docs/files.md.

    Model and size are those that the file's own record names, unless given.

    Args:
        source: an image file (docs/files.md, 1).
        output: the file to write, whole or not at all; the format by its suffix.
        model: as for `load`.
        **options: `backend`, `precision`, `threads`, `io` of `load`; `tau`, `seed`, `size`, `tile`,
            `overlap` of `Model.upscale`; `strips`, `max_pixels`, `obey_record`, `force`.

    Returns:
        `model` (its name) and `size` [width, height].

    Raises:
        HcflowError: it cannot be read, computed or written, or the output is the input.
        OSError: the disk is full or not writable.
    """
    from runtime.convert.file import convert_path

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
        output: likewise.
        model: as for `load`.
        **options: `backend`, `precision`, `threads`, `io` of `load`; `tile`, `overlap` of
            `Model.downscale`; `round_trip`, `strips`, `max_pixels`, `force`.

    Returns:
        `model`, `size`, and where the image was not streamed `bytes`, `bicubic_bytes`,
        `round_trip_psnr_db` and `origin_recorded`.

    Raises:
        HcflowError, OSError: as `upscale_file`.
    """
    from runtime.convert.file import convert_path

    return convert_path("downscale", source, output, model, options)
