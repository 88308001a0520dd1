"""GPU arrays that are exchanged with other libraries without a copy.

Inputs are anything with `__cuda_array_interface__` (CuPy, Numba, PyCUDA, PyTorch) or DLPack;
results are `DeviceArray`s, which have both.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.backends.cuda.device import Device
from runtime.backends.cuda.driver import check, driver
from runtime.backends.cuda.stream import LEGACY, Stream
from runtime.backends.session import import_library
from runtime.errors import BackendError, ParameterError, one_line
from runtime.system.arguments import whole

_DLPACK_CUDA, _DLPACK_MANAGED = 2, 13
_UNORDERED = -1
_MOST_HANDLE = 2**64 - 1


@dataclass(frozen=True)
class View:
    """Device memory of an array: its address, shape and dtype, and the object that owns it."""

    pointer: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: Any


class DeviceArray:
    """An array on the GPU, valid for work that comes later in its stream.

    Its memory is freed in that stream when nothing refers to the array any more, after the work of
    the streams that took it by DLPack. `__cuda_array_interface__` and DLPack share it without a
    copy; both name the stream, so that a consumer that follows the protocol waits for it on the
    GPU, not on the host.
    """

    def __init__(self, stream: Stream, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.shape = shape
        self.dtype = dtype
        self.stream = stream
        self._consumers: dict[int, Stream] = {}
        self.pointer = stream.allocate(math.prod(shape) * dtype.itemsize)

    def __del__(self) -> None:
        if not hasattr(self, "pointer") or sys.is_finalizing():
            return
        stream = self.stream
        with stream.device.current():
            try:
                for consumer in self._consumers.values():  # their work may outlive the array
                    stream.follow(consumer)
            except BackendError:  # a consumer's stream is gone: its work may not be over
                check(driver().cuCtxSynchronize())
            if stream.is_of_another_thread:
                check(driver().cuCtxSynchronize())
            stream.free(self.pointer)

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
            "stream": self.stream.handle,
        }

    def __dlpack__(self, **options: Any) -> Any:
        given = options.pop("stream", None)
        consumer = LEGACY if given is None else int(given)  # as the protocol has it
        device = self.stream.device
        with device.current():
            if consumer != _UNORDERED:
                taker = Stream(device, consumer)
                taker.follow(self.stream)
                self._consumers[taker.handle] = taker
            view = _strided_memory_view().from_cuda_array_interface(self, stream_ptr=-1)
            return view.__dlpack__(stream=-1, **options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return _DLPACK_CUDA, self.stream.device.ordinal


def is_on_gpu(array: Any) -> bool:
    """Whether an array is on a GPU."""
    if _interface(array) is not None:
        return True
    device = getattr(array, "__dlpack_device__", None)
    return device is not None and int(device()[0]) in (_DLPACK_CUDA, _DLPACK_MANAGED)


def view(name: str, array: Any, stream: Stream) -> View:
    """The memory of a GPU array, ready for what comes next in `stream`.

    Raises:
        ParameterError: not on the stream's GPU, or not contiguous in C order.
        BackendError: it has DLPack only, and `cuda.core` is not installed; or the stream that it
            names is gone.
    """
    interface = _interface(array)
    # Below version 3 it names no stream (PyTorch's is 2), so that nothing would order the two.
    names_no_stream = interface is not None and interface.get("version", 0) < 3
    if interface is None or (names_no_stream and hasattr(array, "__dlpack__")):
        found = _by_dlpack(name, array, stream)
    else:
        found = _by_interface(name, array, interface)
    _check_place(name, found, stream.device)
    if found.owner is array and (producer := interface and interface.get("stream")):
        stream.follow(Stream(stream.device, int(producer)))
    return found


def _interface(array: Any) -> Any:
    """What `__cuda_array_interface__` gives; None where there is none, or it refuses."""
    try:
        return getattr(array, "__cuda_array_interface__", None)
    except Exception:  # PyTorch's refuses gradients: DLPack says so in its own words
        return None


def _by_interface(name: str, array: Any, interface: Any) -> View:
    try:
        shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
        pointer, strides = int(interface["data"][0]), interface.get("strides")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ParameterError(
            f"'{name}' has a __cuda_array_interface__ that cannot be read ({one_line(error)})"
        ) from error
    _check_contiguous(name, shape, dtype, strides)
    return View(pointer, shape, dtype, array)


def _by_dlpack(name: str, array: Any, stream: Stream) -> View:
    if not is_on_gpu(array):
        raise ParameterError(
            f"'{name}' is not a GPU array: it has neither __cuda_array_interface__ nor DLPack "
            "on a CUDA device; with a stream all arrays must be on the GPU"
        )
    # Asked before the array is: a stream of this GPU means nothing to one on another.
    if (ordinal := int(array.__dlpack_device__()[1])) != stream.device.ordinal:
        raise _elsewhere(name, ordinal, stream.device)
    try:
        found = _strided_memory_view().from_dlpack(array, stream_ptr=stream.handle)
        shape, dtype = tuple(found.shape), found.dtype
    except (BufferError, TypeError, ValueError, RuntimeError) as error:  # of the other library
        raise ParameterError(
            f"'{name}' cannot be taken by DLPack ({one_line(error)}): give a plain array, without "
            "gradients"
        ) from error
    if dtype is None:
        raise ParameterError(f"'{name}' is of a type that NumPy has not")
    strides = found.strides and tuple(s * dtype.itemsize for s in found.strides)
    _check_contiguous(name, shape, dtype, strides)
    return View(int(found.ptr), shape, dtype, found)


def _check_place(name: str, found: View, device: Device) -> None:
    """Raise `ParameterError` unless the memory is that GPU's own."""
    if 0 in found.shape:  # an array without values has no memory
        return
    api = driver()
    kinds = api.CUpointer_attribute
    status, ordinal = api.cuPointerGetAttribute(
        kinds.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, found.pointer
    )
    if int(status) == 0:  # page-locked host memory, too, is on a device by its number alone
        status, memory = api.cuPointerGetAttribute(
            kinds.CU_POINTER_ATTRIBUTE_MEMORY_TYPE, found.pointer
        )
    if int(status) != 0 or int(memory) != int(api.CUmemorytype.CU_MEMORYTYPE_DEVICE):
        raise ParameterError(
            f"'{name}' is not in GPU memory: give an array whose memory CUDA allocated"
        )
    if int(ordinal) != device.ordinal:
        raise _elsewhere(name, int(ordinal), device)


def _elsewhere(name: str, ordinal: int, device: Device) -> ParameterError:
    return ParameterError(
        f"'{name}' is on GPU {ordinal}, the model on GPU {device.ordinal}: copy it there, or open "
        f"the model with device={ordinal}"
    )


def aligned(given: View, alignment: int, stream: Stream) -> View:
    """Memory whose address is a multiple of `alignment`: the given one, or a copy in the stream."""
    if given.pointer % alignment == 0:
        return given
    made = DeviceArray(stream, given.shape, given.dtype)
    stream.copy(made.pointer, given.pointer, made.nbytes)
    return View(made.pointer, made.shape, made.dtype, (made, given.owner))


def stream_handle(stream: Any) -> int:
    """The driver's handle of a stream: an integer, or a stream of PyTorch, CuPy, PyCUDA or Numba.

    Raises:
        ParameterError: it is something else.
    """
    if isinstance(stream, int) and not isinstance(stream, bool):
        return int(whole("stream", stream, 0, _MOST_HANDLE))
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
