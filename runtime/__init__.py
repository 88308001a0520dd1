"""Run a bundle on images; needs NumPy, Pillow and the backend in use, nothing else.

model = runtime.load("bundles/rescale_x4")
large = model.upscale(small)
"""

from __future__ import annotations

import os
from typing import Literal

from runtime import backends
from runtime.backends import auto
from runtime.bundle.manifest import PRECISIONS, Precision
from runtime.bundle.reader import IOS, Bundle
from runtime.errors import (
    BackendError,
    BundleError,
    Cancelled,
    FileError,
    GpuMemoryError,
    HcflowError,
    ImageError,
    ParameterError,
    SizeError,
)
from runtime.inference.auto import cpu_precision
from runtime.inference.auto.choices import Choice
from runtime.inference.network import Network
from runtime.model import Model
from runtime.system import machine
from runtime.system.arguments import MOST_THREADS, one_of, whole

__all__ = [
    "BackendError",
    "Bundle",
    "BundleError",
    "Cancelled",
    "FileError",
    "GpuMemoryError",
    "HcflowError",
    "ImageError",
    "Model",
    "Network",
    "ParameterError",
    "SizeError",
    "load",
]


def load(
    path: str | os.PathLike[str],
    *,
    backend: str = "onnxruntime",
    precision: Precision | Literal["auto"] | None = None,
    threads: int | None = None,
    io: Literal["float32", "uint8"] | None = None,
    device: int | None = None,
) -> Model:
    """Open a bundle as a model; a graph is loaded when it is first used.

    Args:
        path: the bundle's folder, or its manifest.json.
        backend: one of `runtime.backends.NAMES`; `auto` takes for each direction an engine of the
            bundle or the cache that fits this GPU, else CUDA where it works, else OpenVINO where it
            is installed, else ONNX Runtime. The log says why one with engines was passed over.
        precision: fp32, fp16, int8 or fp8; `auto` chooses for each image the one that this machine
            runs fastest within the bundle's budgets (`runtime.inference.auto.cpu_precision`), for
            engines by `runtime.inference.auto.gpu_precision`; None is fp32, the closest to the
            reference.
        threads: of the backend, 1 to 1024; None uses every processor this process may use.
        io: type of images at the graph's boundary; `uint8` graphs take only images of 8 bits a
            channel. None takes a float32 graph where there is one.
        device: number of the GPU that a GPU backend or `auto` uses, 0 or more, as CUDA counts;
            None is the first.

    Raises:
        BundleError: there is no bundle, or it cannot be used.
        ParameterError: an unknown backend, precision or io, threads or device out of range, or
            a device for a backend that computes on processors.
    """
    backends.check_name(backend)
    if precision is not None:
        one_of("precision", precision, (*PRECISIONS, "auto"))
    if io is not None:
        one_of("io", io, IOS)
    if threads is not None:
        threads = whole("threads", threads, 1, MOST_THREADS)
    bundle = Bundle.open(path)
    backends.check_device(backend, device)
    wanted = precision or "fp32"
    engines: tuple[Choice, ...] = ()
    if backend == "auto":
        from runtime.inference.auto.backend import with_engines  # noqa: PLC0415 - for `auto` alone

        engines = with_engines(bundle, wanted, io, device)
    candidates = (wanted,) if wanted != "auto" else _precisions(bundle, backend, io, device)
    return Model(Network(bundle, backend, candidates, threads, io, device, engines))


def _precisions(
    bundle: Bundle, backend: str, io: str | None, device: int | None
) -> tuple[Precision, ...]:
    """What precision `auto` may choose on a backend; on `auto` where no engine computes."""
    name = auto.name(backend)
    if name not in backends.ON_GPU:
        return cpu_precision.precisions(bundle.manifest, name, machine.cpu_flags(), io)
    from runtime.inference.auto import gpu_precision  # noqa: PLC0415 - for GPUs alone

    return (gpu_precision.choose_here(bundle, name, io, device),)
