"""From a bundle to a picture: needs NumPy, Pillow and the one backend in use, nothing else.

model = runtime.load("rescale_x4_quick")
large = model.upscale(small)
"""

from __future__ import annotations

import os

from runtime import backends
from runtime.bundle import Bundle
from runtime.errors import BackendError, BundleError, HcflowError, ImageError, ParameterError
from runtime.manifest import PRECISIONS, Precision
from runtime.model import Model
from runtime.network import Network

__all__ = [
    "BackendError",
    "Bundle",
    "BundleError",
    "HcflowError",
    "ImageError",
    "Model",
    "Network",
    "ParameterError",
    "load",
]


def load(
    path: str | os.PathLike[str],
    *,
    backend: str = "onnxruntime",
    precision: Precision | None = None,
    threads: int | None = None,
) -> Model:
    """Open a bundle as a model; its graphs are loaded when first used.

    Args:
        path: the bundle's folder, or its manifest.json.
        backend: one of `runtime.backends.NAMES`; `auto` takes CUDA where it works.
        precision: fp32, fp16 or int8; None is fp32, the closest to the reference.
        threads: of the backend; None is every processor this process may use.

    Raises:
        BundleError: no bundle there, or one that cannot be used.
        ParameterError: an unknown backend or precision, or fewer than one thread.
    """
    backends.check_name(backend)
    if precision not in (None, *PRECISIONS):
        raise ParameterError(f"unknown precision '{precision}': one of {', '.join(PRECISIONS)}")
    if threads is not None and threads < 1:
        raise ParameterError(f"threads is {threads}: it must be 1 or more")
    return Model(Network(Bundle.open(path), backend, precision or "fp32", threads))
