"""TensorRT or TensorRT-RTX: one Python API under two names, and whether it works here."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

from export.engine.options import RTX_CAPABILITIES, EngineOptions
from export.errors import ExportError
from runtime.backends import tensorrt_engine
from runtime.backends.cuda import device as cuda_device
from runtime.bundle.engines import fit
from runtime.bundle.engines.entry import LIBRARIES, Library
from runtime.system import atomic


def resolve(asked: str, device: int = 0) -> Library:
    """The library for `--engine`; `auto` is TensorRT where a GPU answers, else TensorRT-RTX.

    Raises:
        ExportError: `auto`, and neither is installed.
    """
    if asked in LIBRARIES:
        return asked
    if _installed("tensorrt") and cuda_device.gpu_missing(device) is None:
        return "tensorrt"
    if _installed("tensorrt-rtx"):
        return "tensorrt-rtx"
    reason = (
        "no GPU answers, and TensorRT-RTX, which compiles without one,"
        if _installed("tensorrt")
        else "neither TensorRT nor TensorRT-RTX"
    )
    raise ExportError(
        f"--engine auto: {reason} is not installed: {tensorrt_engine.INSTALL['tensorrt-rtx']}"
    )


@contextlib.contextmanager
def on_gpu(device: int) -> Iterator[None]:
    """Let a compiler work on the GPU of that number; without one it works on none."""
    if cuda_device.gpu_missing(device) is not None:
        yield
        return
    with cuda_device.Device.open(device).current():
        yield


def check(options: EngineOptions) -> None:
    """Check before any work that this machine can compile as asked.

    Raises:
        BackendError: the library is missing.
        ExportError: it needs a GPU, or cannot compile for a given one.
        FileError: the timing cache cannot be written.
    """
    trt = tensorrt_engine.load_library(options.library)
    if options.library == "tensorrt" or options.refittable:
        _need_gpu(options)
    if options.timing_cache is not None:
        atomic.check_place(options.timing_cache)
    if options.library == "tensorrt-rtx":
        for target in options.targets():
            capability(trt, target)


def default_targets(library: Library, device: int = 0) -> tuple[str, ...]:
    """GPUs to compile for where none is named: TensorRT-RTX's own, and the one that answers here.

    Raises:
        ExportError: TensorRT-RTX compiles for no GPU like the one that answers.
    """
    if library == "tensorrt" or cuda_device.gpu_missing(device) is not None:
        return ()
    here = cuda_device.Device.open(device).compute_capability
    if not fit.rtx_serves(here):
        raise ExportError(
            f"TensorRT-RTX does not serve this machine's GPU, of compute capability {here}: give "
            "--engine tensorrt, or name the GPUs of other machines by --compute-capability"
        )
    return tuple(dict.fromkeys((*RTX_CAPABILITIES, here)))


def capability(trt: Any, target: str) -> Any:
    """TensorRT-RTX's own constant for a compute capability, `8.9`.

    Raises:
        ExportError: it compiles for no such GPU.
    """
    known = getattr(trt.ComputeCapability, "SM" + target.replace(".", ""), None)
    if known is None:
        there = ", ".join(
            f"{name[2:-1]}.{name[-1]}"
            for name in sorted(dir(trt.ComputeCapability), key=lambda name: (len(name), name))
            if name.startswith("SM")
        )
        raise ExportError(
            f"--compute-capability {target}: TensorRT-RTX {trt.__version__} compiles for {there}"
        )
    return known


def _need_gpu(options: EngineOptions) -> None:
    if (missing := cuda_device.gpu_missing(options.device)) is None:
        return
    what = "--refit" if options.refittable else "--engine tensorrt"
    raise ExportError(
        f"{what} needs a GPU on the machine that compiles: {missing}. Without one, use "
        "--engine tensorrt-rtx without --refit"
    )


def _installed(library: Library) -> bool:
    return importlib.util.find_spec(tensorrt_engine.MODULES[library]) is not None
