"""The machine, and the driver layer (`runtime.backends.cuda.device`) on its GPU."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import itertools
import platform
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

from runtime.backends.cuda.arrays import DeviceArray
from runtime.backends.cuda.device import Device, gpu_missing
from runtime.backends.cuda.driver import driver_version
from runtime.backends.cuda.latents import Drawer
from runtime.backends.cuda.stream import CapturedGraph, Event, Stream
from runtime.checks.selftest import check_latents as check_bits
from runtime.errors import BackendError
from runtime.latents import Region
from tests.gpu.checks import installed
from tests.gpu.record import Report, SkippedError, require

PACKAGES = (
    *("numpy", "pillow", "torch", "triton", "cupy-cuda13x", "cupy-cuda12x", "cuda-bindings"),
    *("cuda-core", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx-cu13"),
)

BYTES = 64 << 20
FLOATS = np.dtype(np.float32)


def check(report: Report, size: int = BYTES) -> None:
    """Every part of the layer, on buffers of `size` bytes."""
    for name, work in (
        ("bytes come back as they went", lambda: _copies(size)),
        ("a stream waits for another's event", lambda: _order(size)),
        ("an event is over once its work is", lambda: _events(size)),
        ("pool memory is taken and given back", lambda: _pool(size)),
        ("a captured graph is replayed on new bytes", lambda: _graph(size)),
        ("a capture that fails leaves its stream usable", _failed_capture),
        ("too much memory is refused in one sentence", _too_much),
        ("a GPU that is not there is refused in one sentence", _not_there),
        ("memory is free again", _leak),
    ):
        report.attempt(name, functools.partial(in_context, work))


def in_context(work: Callable[..., Any], *given: Any) -> Any:
    """What `work` gives, with the GPU's context current."""
    with Device.open().current():
        return work(*given)


def _values(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, np.uint8)


def _copies(size: int) -> dict[str, float]:
    device = Device.open()
    stream = Stream.make(device)
    there, back = (device.pinned((size,), np.dtype(np.uint8)) for _ in range(2))
    there.array[...] = _values(size, 0)
    first, second = device.allocate(size), device.allocate(size)
    marks = [Event(timing=True) for _ in range(4)]
    work = (
        lambda: stream.upload(first.pointer, there),
        lambda: stream.copy(second.pointer, first.pointer, size),
        lambda: stream.download(back, second.pointer),
    )
    for _ in range(2):  # the first time is not measured
        stream.record(marks[0])
        for mark, step in zip(marks[1:], work, strict=True):
            step()
            stream.record(mark)
        stream.synchronise()
    require(np.array_equal(there.array, back.array), "the bytes differ")
    ms = [b.milliseconds_since(a) for a, b in itertools.pairwise(marks)]
    for buffer in (first, second, there, back):
        buffer.free()
    for mark in marks:
        mark.destroy()
    stream.destroy()
    rates = [size / 1e6 / max(t, 1e-6) for t in ms]
    return {"up GB/s": rates[0], "on the GPU GB/s (read)": rates[1], "down GB/s": rates[2]}


def busy(stream: Stream, target: int, source: int, size: int, times: int = 64) -> None:
    """Keep a stream at work for a while, by copies."""
    for _ in range(times):
        stream.copy(target, source, size)


def _order(size: int) -> str:
    device = Device.open()
    writer, reader = Stream.make(device), Stream.make(device)
    there, back = (device.pinned((size,), np.dtype(np.uint8)) for _ in range(2))
    there.array[...] = _values(size, 1)
    source, middle = device.allocate(size), device.allocate(size)
    event = Event()
    writer.upload(source.pointer, there)
    busy(writer, middle.pointer, source.pointer, size)
    writer.record(event)
    reader.wait(event)
    reader.download(back, middle.pointer)
    reader.synchronise()
    require(np.array_equal(there.array, back.array), "the reader saw bytes from before")
    for buffer in (source, middle, there, back):
        buffer.free()
    event.destroy()
    writer.destroy()
    reader.destroy()
    return "the reader saw what the writer wrote"


def _events(size: int) -> dict[str, float]:
    device = Device.open()
    stream = Stream.make(device)
    first, second = device.allocate(size), device.allocate(size)
    start, end = Event(timing=True), Event(timing=True)
    stream.record(start)
    busy(stream, second.pointer, first.pointer, size, 16)
    stream.record(end)
    end.synchronise()
    require(end.is_over, "the event is not over after it was waited for")
    ms = end.milliseconds_since(start)
    require(ms >= 0, f"{ms} ms between two events")
    for each in (first, second):
        each.free()
    start.destroy()
    end.destroy()
    stream.destroy()
    return {"ms a copy": ms / 16}


def _pool(size: int) -> dict[str, float]:
    stream = Stream.make(Device.open())
    stream.free(stream.allocate(size))
    stream.synchronise()
    times = 200
    start = time.perf_counter()
    for _ in range(times):
        stream.free(stream.allocate(size))
    stream.synchronise()
    micros = (time.perf_counter() - start) / times * 1e6
    stream.destroy()
    return {"µs to take and give back": micros}


def _graph(size: int) -> dict[str, float]:
    device = Device.open()
    stream = Stream.make(device)
    there, back = (device.pinned((size,), np.dtype(np.uint8)) for _ in range(2))
    first, second = device.allocate(size), device.allocate(size)

    def work() -> None:
        stream.upload(first.pointer, there)
        stream.copy(second.pointer, first.pointer, size)
        stream.download(back, second.pointer)

    work()
    stream.synchronise()
    graph: CapturedGraph = stream.capture(work)
    times = []
    for seed in range(3):
        there.array[...] = _values(size, 2 + seed)
        start = time.perf_counter()
        stream.launch(graph)
        stream.synchronise()
        times.append(time.perf_counter() - start)
        require(np.array_equal(there.array, back.array), f"replay {seed} gave other bytes")
    graph.destroy()
    for buffer in (first, second, there, back):
        buffer.free()
    stream.destroy()
    return {"ms a replay": min(times) * 1e3}


def _failed_capture() -> str:
    device = Device.open()
    stream = Stream.make(device)

    def fails() -> None:
        raise ZeroDivisionError

    with contextlib.suppress(ZeroDivisionError):
        stream.capture(fails)
    buffer = device.allocate(1024)
    stream.copy(buffer.pointer, buffer.pointer + 512, 512)
    stream.synchronise()
    buffer.free()
    stream.destroy()
    return "it copied afterwards"


def _too_much() -> str:
    _, total = Device.open().memory()
    try:
        Device.open().allocate(4 * total)
    except BackendError as error:
        require("out of GPU memory" in str(error), str(error))
        return str(error)
    raise AssertionError("four times the GPU's memory was given")


def _not_there() -> str:
    try:
        Device.open(4000)
    except BackendError as error:
        return str(error)
    raise AssertionError("GPU number 4000 was opened")


def _leak() -> dict[str, float]:
    device = Device.open()

    def once() -> None:
        stream = Stream.make(device)
        array = DeviceArray(stream, (1 << 20,), FLOATS)
        del array
        stream.destroy()

    once()
    gc.collect()
    device.trim()
    before, _ = device.memory()
    for _ in range(50):
        once()
    device.trim()
    after, _ = device.memory()
    require(before - after <= 64 << 20, f"{(before - after) / 1e6:.0f} MB are not free again")
    return {"MB of difference": (before - after) / 1e6}


def check_latents(report: Report, side: int = 540) -> None:
    """The kernel that draws latents: its bits, and how fast it is beside the CPU."""
    report.attempt("drawn on the GPU, latents have the CPU's bits", check_bits)
    report.attempt("time to draw a frame's finest latents", lambda: in_context(_drawing, side))


def _drawing(side: int) -> dict[str, float]:
    device = Device.open()
    stream, drawer = Stream.make(device), Drawer.open(device)
    region = Region(7, 0, 1, 6, 0, 0, side, 16 * side // 9, 0.9)
    array = DeviceArray(stream, region.shape, FLOATS)
    start, end = Event(timing=True), Event(timing=True)
    drawer.enqueue(region, array.pointer, stream)
    stream.record(start)
    for _ in range(10):
        drawer.enqueue(region, array.pointer, stream)
    stream.record(end)
    end.synchronise()
    ms = end.milliseconds_since(start) / 10
    begun = time.perf_counter()
    values = region.values().size
    cpu = (time.perf_counter() - begun) * 1e3
    return {"million values": values / 1e6, "ms on the GPU": ms, "ms on the CPU": cpu}


def check_machine(report: Report) -> None:
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
