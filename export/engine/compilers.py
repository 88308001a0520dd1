"""TensorRT or TensorRT-RTX: one Python API under two names, and whether it works here."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from export.engine.options import EngineOptions
from export.errors import ExportError
from runtime.backends import cuda_device
from runtime.bundle.engine_entry import LIBRARIES, Library
from runtime.system import atomic

MODULES: dict[Library, str] = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
INSTALL: dict[Library, str] = {
    "tensorrt": "pip install tensorrt (from NVIDIA's index, https://pypi.nvidia.com)",
    "tensorrt-rtx": "pip install 'hcflow-deploy[tensorrt]'",
}


def load(library: Library) -> Any:
    """The library's module.

    Raises:
        ExportError: it is not installed, or its own libraries do not load.
    """
    try:
        return importlib.import_module(MODULES[library])
    except (ImportError, OSError) as error:
        raise ExportError(
            f"{library} cannot be imported ({' '.join(str(error).split())}): {INSTALL[library]}"
        ) from error


def resolve(asked: str) -> Library:
    """The library for `--engine`; `auto` is TensorRT where a GPU answers, else TensorRT-RTX.

    Raises:
        ExportError: `auto`, and neither is installed.
    """
    if asked in LIBRARIES:
        return asked
    if _installed("tensorrt") and cuda_device.gpu_missing() is None:
        return "tensorrt"
    if _installed("tensorrt-rtx"):
        return "tensorrt-rtx"
    reason = (
        "no GPU answers, and TensorRT-RTX, which compiles without one,"
        if _installed("tensorrt")
        else "neither TensorRT nor TensorRT-RTX"
    )
    raise ExportError(f"--engine auto: {reason} is not installed: {INSTALL['tensorrt-rtx']}")


def check(options: EngineOptions) -> None:
    """Check before any work that this machine can compile as asked.

    Raises:
        ExportError: the library is missing, needs a GPU, or cannot compile for a given one.
        FileError: the timing cache cannot be written.
    """
    trt = load(options.library)
    if options.library == "tensorrt" or options.refittable:
        _need_gpu(options)
    if options.timing_cache is not None:
        atomic.check_place(options.timing_cache)
    if options.library == "tensorrt-rtx":
        for target in options.targets():
            capability(trt, target)


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
            f"--compute-capability {target}: TensorRT-RTX {version(trt)} compiles for {there}"
        )
    return known


def _need_gpu(options: EngineOptions) -> None:
    if (missing := cuda_device.gpu_missing()) is None:
        return
    what = "--refit" if options.refittable else "--engine tensorrt"
    raise ExportError(
        f"{what} needs a GPU on the machine that compiles: {missing}. Without one: "
        "--engine tensorrt-rtx, not refittable"
    )


def version(module: Any) -> str:
    """The library's version, numbers only: `1.7.1.116`."""
    return str(module.__version__)


def _installed(library: Library) -> bool:
    return importlib.util.find_spec(MODULES[library]) is not None
