"""Every check: what it needs of the machine, and how long it may take."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass

LIBRARIES = {
    "torch": "PyTorch",
    "cupy": "CuPy",
    "cuda.bindings": "cuda-bindings",
    "cuda.core": "cuda-core",
    "onnx": "onnx",
    "onnxruntime": "ONNX Runtime",
    "tensorrt": "TensorRT",
    "tensorrt_rtx": "TensorRT-RTX",
    "PIL": "Pillow",
}
"""Modules by which libraries are found, and what they are called."""


@dataclass(frozen=True)
class Check:
    """A check, run in a process of its own.

    Attributes:
        name: in the report.
        target: `module:function`; the function takes a `Report`.
        needs: modules of `LIBRARIES`.
        seconds: after which it is ended.
    """

    name: str
    target: str
    needs: Sequence[str]
    seconds: float


MACHINE = Check("machine", "tests.gpu.driver:check_machine", (), 60)
"""Runs first; where it finds no GPU, the others are skipped."""

CHECKS = (
    Check("driver", "tests.gpu.driver:check", ("cuda.bindings",), 30),
    Check("latents", "tests.gpu.driver:check_latents", ("cuda.bindings",), 20),
    Check("arrays of PyTorch", "tests.gpu.arrays:check_torch", ("cuda.bindings", "torch"), 40),
    Check("arrays of CuPy", "tests.gpu.arrays:check_cupy", ("cuda.bindings", "cupy"), 40),
    Check("networks", "tests.gpu.networks:check", ("torch", "PIL"), 80),
    Check("training", "tests.gpu.training:check", ("torch",), 60),
    Check("engines", "tests.gpu.bundles:check_engines", ("cuda.bindings", "onnx"), 90),
    Check("ONNX Runtime's CUDA", "tests.gpu.bundles:check_onnxruntime", ("onnxruntime",), 40),
    Check("selftest", "tests.gpu.bundles:check_selftest", ("onnxruntime",), 60),
    Check("profile", "tests.gpu.bundles:check_profile", ("cuda.bindings", "onnx"), 40),
    Check("torch.compile", "tests.gpu.networks:check_compiled", ("torch", "PIL"), 120),
)
"""In order: the last ones take what time is left."""


def missing(check: Check) -> str | None:
    """The first library that a check needs and that is not installed, as a sentence."""
    for module in check.needs:
        if not installed(module):
            return f"{LIBRARIES[module]} is not installed here"
    return None


def installed(module: str) -> bool:
    if sys.modules.get(module) is not None:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # of a package inside another that is missing
        return False
