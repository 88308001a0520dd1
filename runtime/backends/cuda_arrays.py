"""GPU arrays that are exchanged with other libraries without a copy.

Inputs are anything with `__cuda_array_interface__` (CuPy, Numba, PyCUDA, PyTorch) or DLPack;
results are `DeviceArray`s, which have both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.backends.cuda_device import Event, Stream
from runtime.backends.session import import_library
from runtime.errors import ParameterError

LEGACY = 1
"""The handle of the default stream, as 0 is; it waits for every stream that does not opt out."""

_DLPACK_CUDA = 2
_UNORDERED = -1


@dataclass(frozen=True)
class View:
    """Device memory of an array: its address, shape and dtype, and the object that owns it."""

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: Any


class DeviceArray:
    """An array on the GPU, valid for work that comes later in its stream.

    Its memory is freed in that stream when nothing refers to the array any more.
    `__cuda_array_interface__` and DLPack share it without a copy; both name the stream, so that a
    consumer that follows the protocol waits for it on the GPU, not on the host.
    """

    def __init__(self, stream: Stream, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype
        self.stream = stream
        self._consumers: set[int] = set()
        self.pointer = stream.allocate(math.prod(shape) * dtype.itemsize)

    def __del__(self) -> None:
        if not hasattr(self, "pointer"):
            return
        for consumer in self._consumers:  # their work may outlive the object that took the array
            _order(consumer, self.stream)
        self.stream.free(self.pointer)

    @property
    def nbytes(self) -> int:
        """Bytes of its memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "version": 3,
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": None,
            "stream": self.stream.handle or LEGACY,  # the protocol forbids 0
        }

    def __dlpack__(self, **options: Any) -> Any:
        given = options.pop("stream", None)
        consumer = LEGACY if given is None else int(given)  # as the protocol has it
        if consumer != _UNORDERED:
            self.stream.device.use()
            _order(self.stream.handle, Stream(self.stream.device, consumer))
            self._consumers.add(consumer)
        view = _strided_memory_view().from_cuda_array_interface(self, stream_ptr=-1)
        return view.__dlpack__(stream=-1, **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return _DLPACK_CUDA, self.stream.device.ordinal


def is_on_gpu(array: Any) -> bool:
    """Whether an array is on a GPU."""
    if hasattr(array, "__cuda_array_interface__"):
        return True
    device = getattr(array, "__dlpack_device__", None)
    return device is not None and int(device()[0]) == _DLPACK_CUDA


def view(name: str, array: Any, stream: Stream) -> View:
    """The memory of a GPU array, ready for what comes next in `stream`.

    Raises:
        ParameterError: not on a GPU, or not contiguous in C order.
        BackendError: it has DLPack only, and `cuda.core` is not installed.
    """
    interface = getattr(array, "__cuda_array_interface__", None)
    # Below version 3 it names no stream (PyTorch's is 2), so that nothing would order the two.
    names_no_stream = interface is not None and interface.get("version", 0) < 3
    if interface is None or (names_no_stream and hasattr(array, "__dlpack__")):
        if not is_on_gpu(array):
            raise ParameterError(
                f"'{name}' is not a GPU array: it has neither __cuda_array_interface__ nor DLPack "
                "on a CUDA device; with a stream all arrays must be on the GPU"
            )
        found = _strided_memory_view().from_dlpack(array, stream_ptr=stream.handle or LEGACY)
        shape, dtype = tuple(found.shape), np.dtype(found.dtype)
        strides = found.strides and tuple(s * dtype.itemsize for s in found.strides)
        _check_contiguous(name, shape, dtype, strides)
        return View(int(found.ptr), shape, dtype, found)
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    _check_contiguous(name, shape, dtype, interface.get("strides"))
    if producer := interface.get("stream"):
        _order(int(producer), stream)
    return View(int(interface["data"][0]), shape, dtype, array)


def stream_handle(stream: Any) -> int:
    """The driver's handle of a stream: an integer, or a stream of PyTorch, CuPy, PyCUDA or Numba.

    Raises:
        ParameterError: it is something else.
    """
    if isinstance(stream, int):
        return stream
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for attribute in ("cuda_stream", "ptr", "handle"):  # PyTorch, CuPy, PyCUDA and Numba
        value = getattr(stream, attribute, None)
        if value is not None:
            return int(getattr(value, "value", value) or 0)
    raise ParameterError(
        f"stream is a {type(stream).__name__}: give a stream of PyTorch, CuPy, PyCUDA or Numba, or "
        "its handle as an integer"
    )


def _order(producer: int, consumer: Stream) -> None:
    """Let one stream wait for another, on the GPU."""
    if producer == consumer.handle:
        return
    event = Event()
    Stream(consumer.device, producer).record(event)
    consumer.wait(event)
    event.destroy()  # the driver keeps it until the wait is over


def _check_contiguous(
    name: str, shape: tuple[int, ...], dtype: np.dtype[Any], strides: Any
) -> None:
    if strides is None:
        return
    expected = dtype.itemsize
    for size, stride in zip(reversed(shape), reversed(tuple(strides)), strict=True):
        if size != 1 and stride != expected:
            raise ParameterError(
                f"'{name}' is not contiguous in C order: make it contiguous first; nothing is "
                "copied here"
            )
        expected *= size


def _strided_memory_view() -> Any:
    utils = import_library(
        "cuda.core.utils",
        "cuda.core, which DLPack needs,",
        "pip install 'hcflow-deploy[tensorrt]', or give arrays with __cuda_array_interface__",
    )
    return utils.StridedMemoryView
