"""An NVIDIA GPU and its memory, by the driver's primary context.

So pointers and streams can be shared with PyTorch, CuPy, PyCUDA and everything on the CUDA runtime.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.cuda.driver import check, driver, version_text
from runtime.errors import BackendError, GpuMemoryError, ParameterError

_OLDEST_DRIVER = 12000
"""CUDA version that a driver must support, for stream-ordered memory and graphs."""

_NO_FLAGS = 0

_NO_STREAM = (
    *("CUDA_ERROR_INVALID_HANDLE", "CUDA_ERROR_INVALID_VALUE", "CUDA_ERROR_INVALID_CONTEXT"),
    "CUDA_ERROR_CONTEXT_IS_DESTROYED",
)
"""What the driver answers where it notices that a handle is no stream's."""


def gpu_missing(ordinal: int = 0) -> str | None:
    """Why the GPU of that number cannot be used and what to do; None when it can."""
    try:
        Device.open(ordinal)
    except BackendError as error:
        return str(error)
    return None


class Device:
    """One GPU.

    Its own methods run in its primary context and leave the caller's current again. What it makes
    (streams, events, buffers) is used inside `with device.current():`.

    Attributes:
        ordinal: its number, as CUDA counts.
        name: the driver's, such as `NVIDIA GeForce RTX 4090`; that of a MIG slice says so.
        compute_capability: `8.9`.
        multiprocessors: how many it has; a MIG slice has fewer than its GPU.
        l2: bytes of its L2 cache.
    """

    def __init__(self, ordinal: int) -> None:
        self.ordinal = ordinal
        api = driver()
        device = check(api.cuDeviceGet(ordinal))
        self._context = check(api.cuDevicePrimaryCtxRetain(device))
        attribute = api.CUdevice_attribute
        major, minor, self.multiprocessors, self.l2 = (
            int(check(api.cuDeviceGetAttribute(kind, device)))
            for kind in (
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
                attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
                attribute.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE,
            )
        )
        self.compute_capability = f"{major}.{minor}"
        name = check(api.cuDeviceGetName(256, device))
        self.name = bytes(name).split(b"\0")[0].decode(errors="replace").strip()

    @staticmethod
    def open(ordinal: int = 0) -> Device:
        """The GPU of that number, opened once in a process.

        Raises:
            BackendError: no `cuda-python`, no driver, a driver that is too old, or no such GPU.
        """
        return _opened(ordinal)

    def use(self) -> None:
        """Make the primary context current in this thread, and leave it so."""
        check(driver().cuCtxSetCurrent(self._context))

    @contextlib.contextmanager
    def current(self) -> Iterator[None]:
        """Make the primary context current in this thread, and at the end the caller's again."""
        before = check(driver().cuCtxGetCurrent())
        if int(before) == int(self._context):
            yield
            return
        self.use()
        try:
            yield
        finally:
            check(driver().cuCtxSetCurrent(before))

    def check_stream(self, handle: int) -> None:
        """Check that work may be put into a stream of somebody else's.

        Raises:
            ParameterError: it was destroyed, is of another context, or is being captured.
            BackendError: the GPU failed.
        """
        with self.current():
            status, context = driver().cuStreamGetCtx(handle)
            if getattr(status, "name", "") in _NO_STREAM:
                raise ParameterError(
                    "stream is not a stream of CUDA, or was destroyed: give one that exists"
                )
            if int(check((status, context))) != int(self._context):
                raise ParameterError(
                    f"stream belongs to another GPU or CUDA context than GPU {self.ordinal}'s "
                    "primary one: create it with the CUDA runtime on this GPU"
                )
            if int(check(driver().cuStreamIsCapturing(handle))):
                raise ParameterError(
                    "stream is being captured, which runs of an engine do not support: end the "
                    "capture first"
                )

    def memory(self) -> tuple[int, int]:
        """Free and total bytes."""
        with self.current():
            free, total = check(driver().cuMemGetInfo())
        return int(free), int(total)

    def allocate(self, size: int) -> Buffer:
        """Device memory, kept until `free`.

        Raises:
            GpuMemoryError: there is not enough of it.
        """
        with self.current(), self._explained(size):
            try:
                return Buffer(int(check(driver().cuMemAlloc(max(size, 1)))), size)
            except GpuMemoryError:
                self.trim()
                return Buffer(int(check(driver().cuMemAlloc(max(size, 1)))), size)

    def allocate_in(self, stream: int, size: int) -> int:
        """A pointer into `pool` that is valid for later work in the stream.

        Raises:
            GpuMemoryError: there is not enough memory.
        """
        with self.current(), self._explained(size):
            allocate = driver().cuMemAllocFromPoolAsync
            return int(check(allocate(max(size, 1), self.pool, stream)))

    @functools.cached_property
    def pool(self) -> Any:
        """Stream-ordered memory of ours, which keeps what is freed for the next run.

        It is a pool of our own: a program's other libraries use the GPU's default one, whose
        settings are theirs.

        Raises:
            BackendError: the GPU has no such memory.
        """
        api = driver()
        properties = api.CUmemPoolProps()
        properties.allocType = api.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
        properties.location.type = api.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE
        properties.location.id = self.ordinal
        try:
            made = check(api.cuMemPoolCreate(properties))
        except GpuMemoryError:
            raise
        except BackendError as error:
            raise BackendError(
                f"GPU {self.ordinal} has no memory pools ({error}): give host arrays"
            ) from error
        # By default the driver takes memory back whenever somebody waits for the GPU.
        kept = api.CUmemPool_attribute.CU_MEMPOOL_ATTR_RELEASE_THRESHOLD
        check(api.cuMemPoolSetAttribute(made, kept, api.cuuint64_t(2**64 - 1)))
        return made

    def trim(self) -> None:
        """Give back to the GPU what `pool` keeps and nobody uses."""
        if "pool" in vars(self):
            check(driver().cuMemPoolTrimTo(self.pool, 0))

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Pinned:
        """Page-locked host memory, which the GPU reads and writes directly.

        Raises:
            GpuMemoryError: the host has not enough of it.
        """
        size = max(1, int(np.prod(shape)) * dtype.itemsize)
        with self.current():
            try:
                pointer = int(check(driver().cuMemAllocHost(size)))
            except GpuMemoryError as error:
                raise GpuMemoryError(
                    f"out of memory: {size / 1e6:.0f} MB of page-locked host memory are needed: "
                    "give smaller images or tiles, or end other programs"
                ) from error
        return Pinned(pointer, _host_array(pointer, shape, dtype))

    @contextlib.contextmanager
    def _explained(self, size: int) -> Iterator[None]:
        """Say how much memory was asked for and how much is free, where it does not suffice."""
        try:
            yield
        except GpuMemoryError as error:
            free, total = self.memory()
            raise GpuMemoryError(
                f"out of GPU memory: {size / 1e6:.0f} MB are needed, {free / 1e6:.0f} of "
                f"{total / 1e6:.0f} MB are free: give smaller images or tiles, or end other "
                "programs on the GPU"
            ) from error


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


@functools.cache
def _opened(ordinal: int) -> Device:
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
            f"the NVIDIA driver is too old: it supports CUDA {version_text(version)}, and "
            f"{version_text(_OLDEST_DRIVER)} is needed: upgrade it"
        )
    count = int(check(api.cuDeviceGetCount()))
    if not 0 <= ordinal < count:
        raise BackendError(
            f"there is no GPU number {ordinal}, the driver finds {count}: see nvidia-smi and "
            "CUDA_VISIBLE_DEVICES"
        )
    return Device(ordinal)


def _host_array(pointer: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """A NumPy array over memory that it does not own."""
    interface = {"version": 3, "shape": shape, "typestr": dtype.str, "data": (pointer, False)}
    owner = type("Memory", (), {"__array_interface__": interface})()
    return np.asarray(owner)
