"""An NVIDIA GPU through its driver: memory, streams, events and captured graphs by `cuda-python`.

It uses the driver's primary context, so that pointers and streams can be shared with PyTorch, CuPy,
PyCUDA and everything on the CUDA runtime.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.session import import_library
from runtime.errors import BackendError

_OLDEST_DRIVER = 12000
"""CUDA version that a driver must support, for stream-ordered memory and graphs."""

_THREAD_LOCAL_CAPTURE = 1
_NO_FLAGS = 0
_NON_BLOCKING = 1
_DISABLE_TIMING = 2


def gpu_missing() -> str | None:
    """Why no GPU can be used and what to do; None when there is one."""
    try:
        Device.open()
    except BackendError as error:
        return str(error)
    return None


def driver_version() -> str | None:
    """The CUDA version that the driver supports, `13.0`; None where there is no driver."""
    try:
        return _version(int(check(driver().cuDriverGetVersion())))
    except (BackendError, RuntimeError):  # RuntimeError: the binding finds no libcuda
        return None


class Device:
    """One GPU. Every method makes its context current in the calling thread."""

    def __init__(self, ordinal: int) -> None:
        self.ordinal = ordinal
        api = driver()
        self._device = check(api.cuDeviceGet(ordinal))
        self._context = check(api.cuDevicePrimaryCtxRetain(self._device))
        attribute = api.CUdevice_attribute
        major, minor = (
            int(check(api.cuDeviceGetAttribute(kind, self._device)))
            for kind in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        self.compute_capability = f"{major}.{minor}"
        name = check(api.cuDeviceGetName(256, self._device))
        self.name = bytes(name).split(b"\0")[0].decode(errors="replace").strip()

    @staticmethod
    @functools.cache
    def open(ordinal: int = 0) -> Device:
        """The GPU of that number, opened once in a process.

        Raises:
            BackendError: no `cuda-python`, no driver, a driver that is too old, or no such GPU.
        """
        api = driver()
        try:
            check(api.cuInit(_NO_FLAGS))
        except RuntimeError as error:  # the binding finds no libcuda
            raise BackendError(
                "there is no NVIDIA driver on this machine: install one, or use another backend"
            ) from error
        version = int(check(api.cuDriverGetVersion()))
        if version < _OLDEST_DRIVER:
            raise BackendError(
                f"the NVIDIA driver is too old: it supports CUDA {_version(version)}, and "
                f"{_version(_OLDEST_DRIVER)} is needed: upgrade it"
            )
        count = int(check(api.cuDeviceGetCount()))
        if ordinal >= count:
            raise BackendError(
                f"there is no GPU number {ordinal}, the driver finds {count}: see nvidia-smi and "
                "CUDA_VISIBLE_DEVICES"
            )
        return Device(ordinal)

    def use(self) -> None:
        """Make the primary context current in this thread."""
        check(driver().cuCtxSetCurrent(self._context))

    def memory(self) -> tuple[int, int]:
        """Free and total bytes."""
        self.use()
        free, total = check(driver().cuMemGetInfo())
        return int(free), int(total)

    def stream(self) -> Stream:
        """A new stream that does not wait for the default one."""
        self.use()
        return Stream(self, int(check(driver().cuStreamCreate(_NON_BLOCKING))))

    def allocate(self, size: int) -> Buffer:
        """Device memory, kept until `free`.

        Raises:
            BackendError: there is not enough of it.
        """
        self.use()
        try:
            return Buffer(int(check(driver().cuMemAlloc(max(size, 1)))), size)
        except BackendError as error:
            free, total = self.memory()
            raise BackendError(
                f"out of GPU memory: {size / 1e6:.0f} MB are needed, {free / 1e6:.0f} of "
                f"{total / 1e6:.0f} MB are free: give smaller images or tiles, or end other "
                "programs on the GPU"
            ) from error

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Pinned:
        """Page-locked host memory, which the GPU reads and writes directly."""
        self.use()
        size = max(1, int(np.prod(shape)) * dtype.itemsize)
        pointer = int(check(driver().cuMemAllocHost(size)))
        return Pinned(pointer, _host_array(pointer, shape, dtype))


@dataclass(frozen=True)
class Buffer:
    """Device memory."""

    pointer: int
    size: int

    def free(self) -> None:
        """Free it; nothing on the GPU may still use it."""
        check(driver().cuMemFree(self.pointer))


@dataclass(frozen=True)
class Pinned:
    """Page-locked host memory and a NumPy view of it."""

    pointer: int
    array: NDArray[Any]

    def free(self) -> None:
        """Free it; no copy may still be running, and `array` may not be used again."""
        check(driver().cuMemFreeHost(self.pointer))


class Stream:
    """Work in order. All methods except `synchronise` return before the work is done."""

    def __init__(self, device: Device, handle: int) -> None:
        self.device = device
        self.handle = handle

    def synchronise(self) -> None:
        """Wait for everything in the stream."""
        check(driver().cuStreamSynchronize(self.handle))

    def upload(self, target: int, source: Pinned) -> None:
        """Pinned host memory → device memory."""
        size = source.array.nbytes
        check(driver().cuMemcpyHtoDAsync(target, source.pointer, size, self.handle))

    def download(self, target: Pinned, source: int) -> None:
        """Device memory → pinned host memory."""
        size = target.array.nbytes
        check(driver().cuMemcpyDtoHAsync(target.pointer, source, size, self.handle))

    def copy(self, target: int, source: int, size: int) -> None:
        """Device memory → device memory, `size` bytes."""
        check(driver().cuMemcpyDtoDAsync(target, source, size, self.handle))

    def allocate(self, size: int) -> int:
        """A device pointer that is valid for later work in the stream."""
        return int(check(driver().cuMemAllocAsync(max(size, 1), self.handle)))

    def free(self, pointer: int) -> None:
        """Free a pointer of `allocate` after the work so far in the stream."""
        check(driver().cuMemFreeAsync(pointer, self.handle))

    def record(self, event: Event) -> None:
        """Let the event mark the end of the work in the stream so far."""
        check(driver().cuEventRecord(event.handle, self.handle))

    def wait(self, event: Event) -> None:
        """Let later work in the stream wait for the event."""
        check(driver().cuStreamWaitEvent(self.handle, event.handle, _NO_FLAGS))

    def capture(self, work: Callable[[], None]) -> CapturedGraph:
        """What `work` puts into this stream, recorded but not run.

        Raises:
            BackendError: something in it cannot be captured.
        """
        api = driver()
        mode = api.CUstreamCaptureMode(_THREAD_LOCAL_CAPTURE)
        check(api.cuStreamBeginCapture(self.handle, mode))
        try:
            work()
        except BaseException:
            _, graph = api.cuStreamEndCapture(self.handle)  # leave the stream usable
            if graph is not None and int(graph):
                api.cuGraphDestroy(graph)
            raise
        graph = check(api.cuStreamEndCapture(self.handle))
        try:
            return CapturedGraph(check(api.cuGraphInstantiate(graph, _NO_FLAGS)))
        finally:
            check(api.cuGraphDestroy(graph))

    def launch(self, graph: CapturedGraph) -> None:
        """Run a captured graph, with the addresses that it was captured with."""
        check(driver().cuGraphLaunch(graph.handle, self.handle))

    def destroy(self) -> None:
        """End the stream; its work is finished first."""
        self.synchronise()
        check(driver().cuStreamDestroy(self.handle))


class Event:
    """A point in a stream that others can wait for."""

    def __init__(self, timing: bool = False) -> None:
        self.handle = int(check(driver().cuEventCreate(_NO_FLAGS if timing else _DISABLE_TIMING)))

    @property
    def is_over(self) -> bool:
        """Whether the work before it has ended."""
        (status,) = driver().cuEventQuery(self.handle)
        if getattr(status, "name", "") == "CUDA_ERROR_NOT_READY":
            return False
        check((status,))
        return True

    def synchronise(self) -> None:
        """Wait for it on the host."""
        check(driver().cuEventSynchronize(self.handle))

    def milliseconds_since(self, earlier: Event) -> float:
        """GPU time between two events made with `timing`."""
        return float(check(driver().cuEventElapsedTime(earlier.handle, self.handle)))

    def destroy(self) -> None:
        """Free it."""
        check(driver().cuEventDestroy(self.handle))


@dataclass(frozen=True)
class CapturedGraph:
    """A captured graph, ready to launch."""

    handle: Any

    def destroy(self) -> None:
        """Free it; it may not be running."""
        check(driver().cuGraphExecDestroy(self.handle))


def _host_array(pointer: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A NumPy array over memory that it does not own."""
    interface = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (pointer, False)}
    owner = type("Memory", (), {"__array_interface__": interface})()
    return np.asarray(owner)


@functools.cache
def driver() -> Any:
    """The driver's API by `cuda-python`; raises `BackendError` where that is missing."""
    return import_library(
        "cuda.bindings.driver", "cuda-python", "pip install 'hcflow-deploy[tensorrt]'"
    )


def check(result: tuple[Any, ...]) -> Any:
    """The values of a driver call, without its status.

    Raises:
        BackendError: the status says that it failed.
    """
    status, *values = result
    if int(status) != 0:
        raise BackendError(_describe(status))
    return values[0] if len(values) == 1 else tuple(values)


def _describe(status: Any) -> str:
    known = {
        "CUDA_ERROR_NO_DEVICE": "the NVIDIA driver finds no GPU: see nvidia-smi and "
        "CUDA_VISIBLE_DEVICES",
        "CUDA_ERROR_OUT_OF_MEMORY": "out of GPU memory: give smaller images or tiles",
        "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "the NVIDIA driver was upgraded while it ran: restart "
        "the machine",
        "CUDA_ERROR_STUB_LIBRARY": "the CUDA driver library here is a stub: install the NVIDIA "
        "driver",
    }
    name = str(getattr(status, "name", status))
    return known.get(name, f"the GPU reports {name}: run 'hcflow selftest' and attach its report")


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
