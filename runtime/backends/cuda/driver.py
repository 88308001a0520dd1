"""The NVIDIA driver's API by `cuda-python`, and its statuses as errors of ours."""

from __future__ import annotations

import functools
from typing import Any

from runtime.backends.session import import_library
from runtime.errors import BackendError, GpuMemoryError

_NONE_OR_OTHERS = "see nvidia-smi and CUDA_VISIBLE_DEVICES"
_ATTACH = "run 'hcflow selftest' and attach its report"
_KNOWN = {
    "CUDA_ERROR_NO_DEVICE": f"the NVIDIA driver finds no GPU: {_NONE_OR_OTHERS}",
    "CUDA_ERROR_DEVICE_UNAVAILABLE": "another process has taken the GPU for itself: "
    f"{_NONE_OR_OTHERS}",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "the NVIDIA driver was upgraded while it ran: restart "
    "the machine",
    "CUDA_ERROR_STUB_LIBRARY": "the CUDA driver library here is a stub: install the NVIDIA driver",
    "CUDA_ERROR_INVALID_HANDLE": "a stream or an event was destroyed while it was in use, or is of "
    "another GPU: keep it, and make it on this GPU",
    "CUDA_ERROR_CONTEXT_IS_DESTROYED": "the stream's context was destroyed: make a new stream",
}
_LOST = (
    *("ILLEGAL_ADDRESS", "LAUNCH_TIMEOUT", "LAUNCH_FAILED", "ASSERT", "HARDWARE_STACK_ERROR"),
    *("ILLEGAL_INSTRUCTION", "MISALIGNED_ADDRESS", "INVALID_ADDRESS_SPACE", "INVALID_PC"),
    *("ECC_UNCORRECTABLE", "NVLINK_UNCORRECTABLE", "TENSOR_MEMORY_LEAK", "EXTERNAL_DEVICE"),
)
"""After one of these every call of the process fails, as the driver documents them."""


@functools.cache
def driver() -> Any:
    """The driver's API by `cuda-python`; raises `BackendError` where that is missing."""
    return import_library(
        "cuda.bindings.driver", "cuda-python", "pip install 'hcflow-deploy[tensorrt]'"
    )


def driver_version() -> str | None:
    """The CUDA version that the driver supports, `13.0`; None where there is no driver."""
    try:
        return version_text(int(check(driver().cuDriverGetVersion())))
    except (BackendError, RuntimeError):  # RuntimeError: the binding finds no libcuda
        return None


def version_text(number: int) -> str:
    """`13.0` of the driver's 13000."""
    return f"{number // 1000}.{number % 1000 // 10}"


def check(result: tuple[Any, ...]) -> Any:
    """The values of a driver call, without its status.

    Raises:
        GpuMemoryError: the GPU has too little memory.
        BackendError: the status says that it failed otherwise.
    """
    status, *values = result
    if int(status) != 0:
        raise error_of(status)
    return values[0] if len(values) == 1 else tuple(values)


def error_of(status: Any) -> BackendError:
    """A status of the driver as an error of ours."""
    name = str(getattr(status, "name", status))
    if name == "CUDA_ERROR_OUT_OF_MEMORY":
        return GpuMemoryError(
            "out of GPU memory: give smaller images or tiles, or end other programs on the GPU"
        )
    if name.removeprefix("CUDA_ERROR_") in _LOST:
        return BackendError(
            f"the GPU reports {name}, after which this process cannot use it any more: start the "
            f"program again; if it comes back, {_ATTACH}"
        )
    return BackendError(_KNOWN.get(name, f"the GPU reports {name}: {_ATTACH}"))
