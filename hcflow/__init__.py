"""HCFlow in production: load a model, upscale and downscale images.

    import hcflow

    model = hcflow.load()
    small = model.downscale(image)
    large = model.upscale(small, tau=0.0)

Importing this needs NumPy and Pillow only; a backend is imported when a graph is first run.
"""

from __future__ import annotations

import os
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

__all__ = [
    "BackendError",
    "BundleError",
    "HcflowError",
    "ImageError",
    "Model",
    "ParameterError",
    "load",
]


def load(path_or_name: str | os.PathLike[str] | None = None, **options: Any) -> Model:
    """Open a model by its bundle's folder or its name; None is the shipped default.

    Args:
        path_or_name: see `hcflow.models.resolve`; a default that is not built yet is built once.
        **options: `backend`, `precision` and `threads` of `runtime.load`.

    Raises:
        HcflowError: no such model, or it cannot be opened; see `runtime.load`.
    """
    from hcflow.models import resolve  # noqa: PLC0415 - needed by this call alone

    name = None if path_or_name is None else os.fspath(path_or_name)
    return runtime.load(resolve(name), **options)
