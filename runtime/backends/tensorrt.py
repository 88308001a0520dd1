"""TensorRT and TensorRT-RTX: compiled engines on NVIDIA GPUs.

Host arrays pass through pinned memory, with one captured CUDA graph per shape; GPU arrays are used
in place, on the caller's stream, with no copy and no wait (`EngineSession.enqueue`).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from runtime.backends.cuda.device import Device, gpu_missing
from runtime.backends.tensorrt_engine import LoadedEngine, load_library, this_machine
from runtime.backends.tensorrt_session import EngineSession
from runtime.bundle.engines import cache, fit
from runtime.bundle.engines.entry import Engine, Library
from runtime.bundle.engines.fit import Machine
from runtime.bundle.graph_entry import Numerics


def open_tensorrt(
    graph: bytes, numerics: Numerics, threads: int, folder: Path | None, device: int
) -> EngineSession:
    """A session on TensorRT; the engine comes from the bundle or the user's cache."""
    return open_engine("tensorrt", graph, folder, tf32=numerics.tf32, device=device)


def open_rtx(
    graph: bytes, numerics: Numerics, threads: int, folder: Path | None, device: int
) -> EngineSession:
    """A session on TensorRT-RTX; the engine comes from the bundle or the user's cache."""
    return open_engine("tensorrt-rtx", graph, folder, tf32=numerics.tf32, device=device)


def open_engine(
    library: Library, graph: bytes, folder: Path | None, *, tf32: bool = False, device: int = 0
) -> EngineSession:
    """Load the engine that was compiled from a graph and fits this machine.

    Of several the one for the smallest shapes is loaded; when shapes come that it does not hold,
    the next that holds them, and no other.

    Args:
        library: which one.
        graph: the ONNX bytes.
        folder: the bundle's, or None to look in the cache only.
        tf32: whether the graph allows TF32.
        device: number of the GPU, as CUDA counts.

    Raises:
        GpuMemoryError: the GPU has too little free memory.
        BackendError: no library, no driver, or no fitting engine; says what to do.
    """
    gpu = Device.open(device)
    trt = load_library(library)
    machine = this_machine(library, gpu)
    place = str(folder or ".")
    found = cache.of_graph(hashlib.sha256(graph).hexdigest(), folder)
    fits = fit.fitting(found, machine, place, tf32=tf32)

    def other(index: int) -> EngineSession:
        return EngineSession(_load(trt, gpu, machine, rest[index], place), rest[index][0], place)

    first, *rest = fits
    loaded = _load(trt, gpu, machine, first, place)
    return EngineSession(loaded, first[0], place, [engine for engine, _ in rest], other)


def _load(
    trt: Any, device: Device, machine: Machine, found: tuple[Engine, Path], place: str
) -> LoadedEngine:
    (engine, path), library = found, machine.library
    data = cache.read(engine, path)
    capability = machine.compute_capability
    remedy = f"compile a fitting one: {fit.command(library, place, capability)}"
    host_code = engine.version_compatible
    loaded = LoadedEngine(trt, library, device, data, str(path), remedy, host_code=host_code)
    if library == "tensorrt-rtx":
        loaded.use_runtime_cache(cache.runtime_cache(engine, machine, device.name))
    return loaded


def has_tensorrt() -> bool:
    """Whether a GPU answers; raises `BackendError` if TensorRT is not installed."""
    return _usable("tensorrt")


def has_rtx() -> bool:
    """Whether a GPU answers; raises `BackendError` if TensorRT-RTX is not installed."""
    return _usable("tensorrt-rtx")


def _usable(library: Library) -> bool:
    load_library(library)
    return gpu_missing() is None
