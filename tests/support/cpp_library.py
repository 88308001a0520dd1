"""Builds the C++ runtime with CMake's presets and calls it through its C interface."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "runtime" / "cpp"
TOOLS = ("cmake", "ninja", "c++")
# Set by `make cpp` and `make cpp-slow`: tests then fail instead of being skipped.
REQUIRED = "HCFLOW_REQUIRE_CPP"
OWN_OVERLAP = ctypes.c_size_t(-1).value  # HCFLOW_OWN_OVERLAP
PRECISIONS = ("fp32", "fp16", "int8", "auto", "fp8")  # HCFLOW_FP32 …
SLOW = "HCFLOW_CPP_SLOW"  # set by `make cpp-slow`: sanitizers, valgrind, clang-tidy, the fuzzer

MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(REQUIRED not in os.environ, reason="minutes of compiling: run `make cpp`"),
]

SLOW_MARK = pytest.mark.skipif(
    SLOW not in os.environ, reason="many minutes more: run `make cpp-slow`"
)


def need(*tools: str) -> None:
    """Skip the test if a program is not installed; under `make cpp` fail."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        reason = f"not installed: {', '.join(missing)} (see docs/cpp.md for the Debian packages)"
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)


def run(*command: str | Path, **options: Any) -> str:
    """Run a command and return its standard output; if it fails, show all its output."""
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done.stdout


def build(preset: str) -> Path:
    """Configure and build a preset with this Python's OpenVINO, and return its folder."""
    need(*TOOLS)
    run("cmake", "--preset", preset, f"-DHCFLOW_PYTHON={sys.executable}", cwd=SOURCE)
    run("cmake", "--build", "--preset", preset, "--parallel", "2", cwd=SOURCE)
    return ROOT / "build" / "cpp" / preset


def sanitized_openvino() -> dict[str, str]:
    """The environment in which OpenVINO runs under sanitizers.

    TBB's default way of loading a library fails under sanitizers, and it leaks at exit.
    """
    return {**os.environ, "TBB_ENABLE_SANITIZERS": "1", "ASAN_OPTIONS": "detect_leaks=0"}


class Image(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("width", ctypes.c_size_t),
        ("height", ctypes.c_size_t),
        ("stride", ctypes.c_size_t),
        ("channels", ctypes.c_int32),
        ("type", ctypes.c_int32),
    )

    @classmethod
    def of(cls, array: NDArray[Any]) -> Image:
        return cls(
            ctypes.sizeof(cls), array.ctypes.data, array.shape[1], array.shape[0],
            array.strides[0], array.shape[2], array.dtype.itemsize,
        )  # fmt: skip


class Options(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("backend", ctypes.c_char_p),
        ("cache", ctypes.c_char_p),
        ("precision", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("gpu", ctypes.c_int32),
    )


class Run(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("tau", ctypes.c_double),
        ("seed", ctypes.c_uint64),
        ("sample", ctypes.c_uint32),
        ("own_grid", ctypes.c_int32),
        ("tile", ctypes.c_size_t),
        ("overlap", ctypes.c_size_t),
        ("latents", ctypes.c_void_p),
        ("latents_count", ctypes.c_size_t),
        ("healed", ctypes.POINTER(ctypes.c_size_t)),
        ("tile_used", ctypes.POINTER(ctypes.c_size_t)),
        ("disagreement", ctypes.POINTER(ctypes.c_float)),
        ("precision_used", ctypes.POINTER(ctypes.c_int32)),
    )


class Model:
    """A bundle opened by the C++ library; the other attributes are those of the last image."""

    def __init__(self, library: Path, bundle: Path, backend: str, precision: str = "fp32") -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.hcflow_last_error.restype = ctypes.c_char_p
        self._library.hcflow_scale.restype = ctypes.c_size_t
        number = PRECISIONS.index(precision)
        options = Options(ctypes.sizeof(Options), backend.encode(), None, number, 1)
        self._model = ctypes.c_void_p()
        self._check(
            self._library.hcflow_open(
                str(bundle).encode(), ctypes.byref(options), ctypes.byref(self._model)
            )
        )
        self._scale = int(self._library.hcflow_scale(self._model))

    def upscale(self, image: NDArray[Any], **options: Any) -> NDArray[Any]:
        height, width, channels = image.shape
        size = self._scale * height, self._scale * width, channels
        return self._call(self._library.hcflow_upscale, image, size, **options)

    def downscale(self, image: NDArray[Any], **options: Any) -> NDArray[Any]:
        height, width, channels = image.shape
        size = -(-height // self._scale), -(-width // self._scale), channels
        return self._call(self._library.hcflow_downscale, image, size, **options)

    def close(self) -> None:
        self._library.hcflow_close(self._model)

    def _call(
        self, function: Any, image: NDArray[Any], size: tuple[int, ...], *,
        tau: float = -1, seed: int = 0, sample: int = 0, tile: int | None = None,
        overlap: int = OWN_OVERLAP,
    ) -> NDArray[Any]:  # fmt: skip
        image = np.ascontiguousarray(image)
        result = np.empty(size, image.dtype)
        healed, side, disagreement = ctypes.c_size_t(), ctypes.c_size_t(), ctypes.c_float()
        used = ctypes.c_int32()
        options = Run(
            ctypes.sizeof(Run), tau, seed, sample, tile is not None, tile or 0, overlap, None, 0,
            ctypes.pointer(healed), ctypes.pointer(side), ctypes.pointer(disagreement),
            ctypes.pointer(used),
        )  # fmt: skip
        one, two = Image.of(image), Image.of(result)
        self._check(
            function(self._model, ctypes.byref(one), ctypes.byref(two), ctypes.byref(options))
        )
        self.healed, self.tile = healed.value, side.value
        self.precision = PRECISIONS[used.value]
        self.disagreement = None if disagreement.value < 0 else disagreement.value
        return result

    def _check(self, status: int) -> None:
        assert status == 0, self._library.hcflow_last_error().decode()
