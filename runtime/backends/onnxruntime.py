"""ONNX Runtime: on the CPU, or on an NVIDIA GPU where its GPU build is installed.

Arrays are the host's: on a GPU every run copies its inputs there and its outputs back.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tempfile
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from runtime.backends.cuda.arrays import is_on_gpu
from runtime.backends.session import Arrays, Layer, import_library
from runtime.bundle.graph_entry import Numerics
from runtime.errors import BackendError, GpuMemoryError, ParameterError, one_line
from runtime.system import machine

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_TENSORRT = "TensorrtExecutionProvider"
_NO_MEMORY = re.compile(
    "Failed to allocate memory|out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
# Errors are raised; its own logger would print names of nodes unescaped.
_SEVERITY_FATAL = 4

# A side of an image in a graph's input: H or W, times a factor.
_SIDE = re.compile(r"(?:([1-9][0-9]{0,3})\*)?[HW]")


def steady_threads(pixels: int, threads: int) -> int:
    """At most `threads`, so few that they change no byte of an image of `pixels` LR pixels.

    ONNX Runtime computes a convolution as a matrix product, gives each thread a share of the pixels
    in multiples of 16, and sums a share of 64 or fewer in another order.
    """
    while threads > 1 and pixels <= threads * (64 + 16 * threads):
        threads //= 2
    return threads


class CpuSession:
    """One graph on the CPU: small images get fewer threads, so that their bytes stay the same."""

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

    def layer_times(self, feeds: Arrays, runs: int) -> list[Layer]:
        """Every layer with its mean over so many runs, by ONNX Runtime's profiler."""
        options = _options(self.threads_for(feeds))
        options.enable_profiling = True
        with tempfile.TemporaryDirectory() as folder:
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = _onnxruntime().InferenceSession(self._graph, options, providers=[_CPU])
            for _ in range(runs + 1):
                session.run(None, dict(feeds))
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        times: dict[tuple[str, str], list[float]] = defaultdict(list)
        for event in events:
            if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
                key = event["name"].removesuffix("_kernel_time"), event["args"]["op_name"]
                times[key].append(event["dur"] * 1e-6)
        return [  # the first run warms up
            Layer(name, kind, sum(seconds[1:]) / runs) for (name, kind), seconds in times.items()
        ]


class OnnxRuntimeSession:
    """An `onnxruntime.InferenceSession` behind the `Session` protocol."""

    def __init__(self, graph: bytes, providers: list[Any], threads: int) -> None:
        ort, options = _onnxruntime(), _options(threads)
        try:
            self._session = ort.InferenceSession(graph, options, providers=providers)
        except Exception as error:  # ONNX Runtime's own exceptions share no base class
            raise _failure("ONNX Runtime refuses the graph", error, providers) from error
        self.providers: list[str] = self._session.get_providers()
        self._outputs = [output.name for output in self._session.get_outputs()]
        inputs = self._session.get_inputs()
        if not inputs:
            raise BackendError("ONNX Runtime refuses the graph: it takes no input")
        self._image = inputs[0]

    def pixels(self, feeds: Arrays) -> int | None:
        """LR pixels of the first input, the image: its sides are named like `H` or `4*H`."""
        image = feeds.get(self._image.name)
        shape: Sequence[object] = self._image.shape
        if image is None or len(image.shape) != len(shape):  # `run` says what is wrong
            return None
        sides = [
            side // int(named[1] or 1)
            for side, name in zip(image.shape, shape, strict=True)
            if isinstance(name, str) and (named := _SIDE.fullmatch(name))
        ]
        return math.prod(sides) if sides else None

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name."""
        try:
            values = self._session.run(self._outputs, dict(feeds))
        except Exception as error:
            if there := [name for name, value in feeds.items() if is_on_gpu(value)]:
                raise ParameterError(
                    f"'{there[0]}' is on a GPU: ONNX Runtime takes host arrays here, and copies "
                    "them; backends tensorrt and tensorrt-rtx take GPU arrays"
                ) from error
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in feeds.items())
            raise _failure(f"ONNX Runtime failed on {shapes}", error, self.providers) from error
        return dict(zip(self._outputs, values, strict=True))


def _failure(what: str, error: Exception, providers: Sequence[Any]) -> BackendError:
    """What ONNX Runtime did not do, and why, as an error of ours."""
    text = one_line(error)
    if _CPU not in providers[:1] and _NO_MEMORY.search(text):
        return GpuMemoryError(
            f"out of GPU memory: {what} ({text}): give smaller images or tiles, or end other "
            "programs on the GPU"
        )
    return BackendError(f"{what}: {text}")


def open_cpu(
    graph: bytes, numerics: Numerics, threads: int, folder: Path | None, device: int
) -> CpuSession:
    """A session on the CPU."""
    return CpuSession(graph, threads)


def open_cuda(
    graph: bytes, numerics: Numerics, threads: int, folder: Path | None, device: int
) -> OnnxRuntimeSession:
    """A session on that CUDA device; TF32 only where the graph's figures assume it."""
    if not has_cuda():
        raise BackendError(
            "this ONNX Runtime has no CUDA: pip install 'hcflow-deploy[gpu]' in place of [cpu]"
        )
    session = OnnxRuntimeSession(graph, [_cuda(numerics, device), _CPU], threads)
    # ONNX Runtime falls back to the CPU in silence when a CUDA library does not load.
    if _CUDA not in session.providers:
        raise BackendError(
            "ONNX Runtime cannot start CUDA here: check the driver and the CUDA and cuDNN libraries"
        )
    return session


def open_tensorrt(
    graph: bytes, numerics: Numerics, threads: int, folder: Path | None, device: int
) -> OnnxRuntimeSession:
    """A session on ONNX Runtime's TensorRT provider; its engines go to the user's cache.

    Each graph has a folder of its own there, and one more where TF32 is allowed.
    """
    if not has_tensorrt():
        raise BackendError(
            "this ONNX Runtime has no TensorRT: pip install 'hcflow-deploy[gpu]' in place of [cpu]"
        )
    if not numerics.tf32 and os.environ.get("NVIDIA_TF32_OVERRIDE") != "0":
        raise BackendError(
            "ONNX Runtime's TensorRT provider computes float32 in TF32 and has no option against "
            "it: set NVIDIA_TF32_OVERRIDE=0 in the environment"
        )
    from runtime.bundle.engines import cache  # noqa: PLC0415 - for engines alone

    # Neither trt_fp16_enable nor trt_int8_enable: without them ONNX Runtime makes a strongly typed
    # network, whose layers run in the graph's own types; with them TensorRT would choose.
    # ONNX Runtime names an engine by the graph's layers and shapes, not by its weights, so graphs
    # of one architecture would read each other's engine from a folder they share.
    name = hashlib.sha256(graph).hexdigest()[:16] + ("-tf32" if numerics.tf32 else "")
    options = {
        "device_id": str(device),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache.own_folder(f"onnxruntime/{name}")),
        "trt_timing_cache_enable": "1",
    }
    session = OnnxRuntimeSession(
        graph, [(_TENSORRT, options), _cuda(numerics, device), _CPU], threads
    )
    if _TENSORRT not in session.providers:
        raise BackendError(
            "ONNX Runtime cannot start TensorRT here: check that TensorRT's libraries and the "
            "driver are installed"
        )
    return session


def has_cpu() -> bool:
    """Whether ONNX Runtime is installed; raises `BackendError` if not."""
    return _has(_CPU)


def has_cuda() -> bool:
    """Whether the installed build has the CUDA provider (not whether a GPU answers)."""
    return _has(_CUDA)


def has_tensorrt() -> bool:
    """Whether the installed build has the TensorRT provider (not whether a GPU answers)."""
    return _has(_TENSORRT)


def _has(provider: str) -> bool:
    return provider in _onnxruntime().get_available_providers()


def _cuda(numerics: Numerics, device: int) -> tuple[str, dict[str, str]]:
    return _CUDA, {"device_id": str(device), "use_tf32": str(int(numerics.tf32))}


def _options(threads: int) -> Any:
    options = _onnxruntime().SessionOptions()
    # An explicit number also keeps ONNX Runtime from pinning its threads to processors.
    options.intra_op_num_threads = threads or machine.usable_cpus()
    options.log_severity_level = _SEVERITY_FATAL
    options.use_deterministic_compute = True
    # Planning by pattern costs a third more peak memory and saves no time. The arena stays:
    # without it the peak falls by up to a sixth, and page faults cost a third more time.
    options.enable_mem_pattern = False
    return options


def _onnxruntime() -> Any:
    return import_library("onnxruntime", "ONNX Runtime", "pip install 'hcflow-deploy[cpu]'")
