"""The machine: its GPU by the driver and by PyTorch, and the libraries that are there."""

from __future__ import annotations

import ctypes
import platform
from importlib import metadata

from tests.gpu.checks import installed
from tests.gpu.record import Report, SkippedError

PACKAGES = (
    *("numpy", "pillow", "torch", "triton", "cupy-cuda13x", "cupy-cuda12x", "cuda-bindings"),
    *("cuda-core", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx-cu13"),
)


def check(report: Report) -> None:
    report.attempt("a GPU answers the driver", _by_driver)
    report.attempt("a GPU answers PyTorch", _by_torch)


def versions() -> dict[str, str]:
    """Python, and the packages that are installed."""
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _by_driver() -> dict[str, object]:
    if not installed("cuda.bindings"):
        raise SkippedError("cuda-bindings is not installed here")
    from runtime.backends.cuda_device import Device, driver_version, gpu_missing  # noqa: PLC0415

    if reason := gpu_missing():
        raise SkippedError(reason)
    device = Device.open()
    _, total = device.memory()
    found = {"GPU": device.name, "compute capability": device.compute_capability}
    found |= {"GB": round(total / 1e9, 1), "driver's CUDA": driver_version()}
    return found | versions()


def _has_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if hasattr(ctypes, "WinDLL") else "libcuda.so.1")
    except OSError:
        return False
    return True


def _by_torch() -> dict[str, object]:
    if not _has_driver():  # importing PyTorch takes seconds
        raise SkippedError("there is no NVIDIA driver on this machine")
    if not installed("torch"):
        raise SkippedError("PyTorch is not installed here")
    import torch  # noqa: PLC0415

    if not torch.cuda.is_available():
        raise SkippedError("PyTorch finds no GPU")
    return {"as PyTorch sees it": torch.cuda.get_device_name(), "its CUDA": torch.version.cuda}
