"""ONNX Runtime: on the CPU, or on an NVIDIA GPU where its GPU build is installed."""

from __future__ import annotations

import math
import os
import threading
from typing import Any

from numpy.typing import NDArray

from runtime.backends import Arrays
from runtime.bundle.manifest import Numerics
from runtime.errors import BackendError, one_line
from runtime.system import machine

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
_SEVERITY_ERROR = 3


def steady_threads(pixels: int, threads: int) -> int:
    """At most `threads`, so few that they change no byte of an image of `pixels` LR pixels.

    A convolution that ONNX Runtime computes as a matrix product gives each thread a share of the
    pixels, in sixteens, and a share of 64 or fewer is summed up in another order.
    """
    while threads > 1 and pixels <= threads * (64 + 16 * threads):
        threads //= 2
    return threads


class CpuSession:
    """Sessions of one graph on the CPU: small images get fewer threads, and all the same bytes."""

    def __init__(self, graph: bytes, threads: int) -> None:
        self._graph = graph
        self._threads = threads or machine.usable_cpus()
        self._opening = threading.Lock()
        self._opened = {self._threads: OnnxRuntimeSession(graph, [_CPU], self._threads)}

    def threads_for(self, feeds: Arrays) -> int:
        """Threads that `run` takes for these inputs."""
        pixels = self._opened[self._threads].pixels(feeds)
        return self._threads if pixels is None else steady_threads(pixels, self._threads)

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name."""
        threads = self.threads_for(feeds)
        with self._opening:
            if threads not in self._opened:
                self._opened[threads] = OnnxRuntimeSession(self._graph, [_CPU], threads)
        return self._opened[threads].run(feeds)


class OnnxRuntimeSession:
    """An `onnxruntime.InferenceSession` behind the `Session` protocol."""

    def __init__(self, graph: bytes, providers: list[Any], threads: int) -> None:
        ort = _onnxruntime()
        options = ort.SessionOptions()
        # An explicit number also keeps ORT from pinning its threads to processors.
        options.intra_op_num_threads = threads or machine.usable_cpus()
        options.log_severity_level = _SEVERITY_ERROR
        options.use_deterministic_compute = True
        # Planning by pattern costs a third more peak memory and wins no time. The arena stays:
        # without it the peak falls by up to a sixth, and page faults cost a third more time.
        options.enable_mem_pattern = False
        try:
            self._session = ort.InferenceSession(graph, options, providers=providers)
        except Exception as error:  # ORT's own exceptions share no base class
            raise BackendError(f"ONNX Runtime refuses the graph: {one_line(error)}") from error
        self._outputs = [output.name for output in self._session.get_outputs()]
        self._image = self._session.get_inputs()[0]

    def pixels(self, feeds: Arrays) -> int | None:
        """LR pixels of the first input, the image: its sides are named as `H` or `4*H` are."""
        image = feeds[self._image.name]
        sides = [
            side // int(name.rpartition("*")[0] or 1)
            for side, name in zip(image.shape, self._image.shape, strict=True)
            if isinstance(name, str) and name.endswith(("H", "W"))
        ]
        return math.prod(sides) if sides else None

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name."""
        try:
            values = self._session.run(self._outputs, dict(feeds))
        except Exception as error:
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in feeds.items())
            raise BackendError(f"ONNX Runtime failed on {shapes}: {one_line(error)}") from error
        return dict(zip(self._outputs, values, strict=True))


def open_cpu(graph: bytes, numerics: Numerics, threads: int) -> CpuSession:
    """A session on the CPU."""
    return CpuSession(graph, threads)


def open_cuda(graph: bytes, numerics: Numerics, threads: int) -> OnnxRuntimeSession:
    """A session on the first CUDA device; TF32 only where the graph's figures assume it."""
    if not has_cuda():
        raise BackendError(
            "this ONNX Runtime has no CUDA: pip install 'hcflow-deploy[gpu]' in place of [cpu]"
        )
    session = OnnxRuntimeSession(
        graph, [(_CUDA, {"use_tf32": str(int(numerics.tf32))}), _CPU], threads
    )
    # ORT falls back to the CPU in silence when a CUDA library does not load.
    if _CUDA not in session._session.get_providers():
        raise BackendError(
            "ONNX Runtime cannot start CUDA here: check the driver and the CUDA and cuDNN libraries"
        )
    return session


def open_tensorrt(graph: bytes, numerics: Numerics, threads: int) -> OnnxRuntimeSession:
    """A session on ONNX Runtime's TensorRT provider; its engines go to the user's cache."""
    if not has_tensorrt():
        raise BackendError(
            "this ONNX Runtime has no TensorRT: pip install 'hcflow-deploy[gpu]' in place of [cpu]"
        )
    if not numerics.tf32 and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0":
        raise BackendError(
            "ONNX Runtime's TensorRT provider computes float32 in TF32 and has no option against "
            "it: set NVIDIA_TF32_OVERRIDE=0 in the environment"
        )
    from runtime.bundle import engine_cache  # noqa: PLC0415 - for engines alone

    options = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(engine_cache.folder() / "onnxruntime"),
        "trt_timing_cache_enable": "1",
    }
    cuda = (_CUDA, {"use_tf32": str(int(numerics.tf32))})
    session = OnnxRuntimeSession(graph, [(_TENSORRT, options), cuda, _CPU], threads)
    if _TENSORRT not in session._session.get_providers():
        raise BackendError(
            "ONNX Runtime cannot start TensorRT here: check that TensorRT's libraries and the "
            "driver are installed"
        )
    return session


def has_cpu() -> bool:
    """Whether ONNX Runtime is installed; raises `BackendError` if not."""
    return _CPU in _onnxruntime().get_available_providers()


def has_cuda() -> bool:
    """Whether the installed build has the CUDA provider (not whether a GPU answers)."""
    return _CUDA in _onnxruntime().get_available_providers()


def has_tensorrt() -> bool:
    """Whether the installed build has the TensorRT provider (not whether a GPU answers)."""
    return _TENSORRT in _onnxruntime().get_available_providers()


def _onnxruntime() -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - importing the runtime must not need a backend
    except ImportError as error:
        raise BackendError(
            f"ONNX Runtime cannot be imported ({error}): pip install 'hcflow-deploy[cpu]'"
        ) from error
    return onnxruntime
