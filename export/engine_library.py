"""Which compiler: TensorRT or TensorRT-RTX, one Python API under two names."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from export.errors import ExportError
from runtime.engines import LIBRARIES, Library

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
    if _installed("tensorrt") and gpu_answers():
        return "tensorrt"
    if _installed("tensorrt-rtx"):
        return "tensorrt-rtx"
    reason = (
        "no GPU answers, and TensorRT-RTX, which compiles without one,"
        if (_installed("tensorrt"))
        else "neither TensorRT nor TensorRT-RTX"
    )
    raise ExportError(f"--engine auto: {reason} is not installed: {INSTALL['tensorrt-rtx']}")


def gpu_answers() -> bool:
    """Whether the NVIDIA driver is there and finds a GPU."""
    from runtime.device import gpu_missing  # noqa: PLC0415  (asks for the driver's binding)

    return gpu_missing() is None


def version(module: Any) -> str:
    """The library's version, numbers only: `1.7.1.116`."""
    return str(module.__version__)


def _installed(library: Library) -> bool:
    return importlib.util.find_spec(MODULES[library]) is not None
