"""GPU arrays of PyTorch and CuPy, in and out of the runtime without a copy, in the right order."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.cuda.arrays import DeviceArray, stream_handle, view
from runtime.backends.cuda.device import Device
from runtime.backends.cuda.stream import Stream
from runtime.errors import ParameterError
from tests.gpu.driver import busy, in_context
from tests.gpu.record import Report, SkippedError, require

SHAPE = (1, 3, 720, 1280)
FLOATS = np.dtype(np.float32)


@dataclass(frozen=True)
class Library:
    """How a library handles arrays; PyTorch, CuPy, or what stands in for them.

    Attributes:
        name: of the library.
        put: a host array as one on the GPU, finished.
        get: an array on the GPU as one on the host, by the library's own current stream.
        late: the same values as `put`, still being computed in a stream of the library's own.
        transposed: a view of an array that is not contiguous.
        by_dlpack: one of our arrays as the library's, by DLPack; None where it has none.
        by_interface: the same by `__cuda_array_interface__`, which names our stream.
        stream: the library's current stream, as its users give it to us.
    """

    name: str
    put: Callable[[NDArray[Any]], Any]
    get: Callable[[Any], NDArray[Any]]
    late: Callable[[NDArray[Any]], Any]
    transposed: Callable[[Any], Any]
    by_dlpack: Callable[[DeviceArray], Any] | None
    by_interface: Callable[[DeviceArray], Any]
    stream: Callable[[], Any]


def check_torch(report: Report) -> None:
    exchange(report, torch_arrays())


def check_cupy(report: Report) -> None:
    exchange(report, cupy_arrays())


def exchange(report: Report, library: Library, shape: tuple[int, ...] = SHAPE) -> None:
    """Every way in and out."""
    name = library.name
    for sentence, work in (
        (f"an array of {name} is read where it lies", _read_in_place),
        (f"values that {name} is still computing are waited for", _late_values),
        (f"an array of {name} that is not contiguous is refused", _transposed),
        (f"{name} takes a result by DLPack, once it is computed", _taken_by_dlpack),
        (f"{name} takes a result by its array interface", _taken_by_interface),
        (f"memory that {name} still reads is not given away", _outlived),
        (f"a stream of {name} is ours by its handle", _its_stream),
    ):
        report.attempt(sentence, functools.partial(in_context, work, library, shape))


def _random(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).random(shape, np.float32)


def download(stream: Stream, pointer: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    pinned = stream.device.pinned(shape, FLOATS)
    stream.download(pinned, pointer)
    stream.synchronise()
    values: NDArray[np.float32] = pinned.array.copy()
    pinned.free()
    return values


def _read_in_place(library: Library, shape: tuple[int, ...]) -> str:
    values, stream = _random(shape, 0), Stream.make(Device.open())
    array = library.put(values)
    found = view("image", array, stream)
    require(found.shape == shape and found.dtype == FLOATS, f"{found.shape}, {found.dtype}")
    require(np.array_equal(download(stream, found.pointer, shape), values), "other values")
    return f"at {found.pointer:#x}"


def _late_values(library: Library, shape: tuple[int, ...]) -> None:
    values, stream = _random(shape, 1), Stream.make(Device.open())
    found = view("image", library.late(values), stream)
    require(
        np.array_equal(download(stream, found.pointer, shape), values),
        "our stream read the array before it was computed",
    )


def _transposed(library: Library, shape: tuple[int, ...]) -> str:
    array = library.transposed(library.put(_random(shape, 2)))
    try:
        view("image", array, Stream.make(Device.open()))
    except ParameterError as error:
        return str(error)
    raise AssertionError("it was taken")


def _late_result(shape: tuple[int, ...], seed: int) -> tuple[NDArray[np.float32], DeviceArray]:
    """Values, and an array of ours that will hold them once its stream is there."""
    values, stream = _random(shape, seed), Stream.make(Device.open())
    pinned = stream.device.pinned(shape, FLOATS)
    pinned.array[...] = values
    source = DeviceArray(stream, shape, FLOATS)
    result = DeviceArray(stream, shape, FLOATS)
    stream.upload(source.pointer, pinned)
    # The result holds other bytes until the last copies.
    busy(stream, result.pointer, source.pointer, result.nbytes // 2)
    stream.copy(result.pointer, source.pointer, result.nbytes)
    return values, result


def _taken_by_dlpack(library: Library, shape: tuple[int, ...]) -> None:
    if library.by_dlpack is None:
        raise SkippedError(f"{library.name} has no DLPack")
    values, result = _late_result(shape, 3)
    require(np.array_equal(library.get(library.by_dlpack(result)), values), "other values")


def _taken_by_interface(library: Library, shape: tuple[int, ...]) -> None:
    values, result = _late_result(shape, 4)
    require(np.array_equal(library.get(library.by_interface(result)), values), "other values")


def _outlived(library: Library, shape: tuple[int, ...]) -> None:
    if library.by_dlpack is None:
        raise SkippedError(f"{library.name} has no DLPack")
    values, result = _late_result(shape, 5)
    stream = result.stream
    taken = library.by_dlpack(result)
    del result
    gc.collect()
    others = [DeviceArray(stream, shape, FLOATS) for _ in range(4)]
    for other in others[1:]:
        stream.copy(other.pointer, others[0].pointer, other.nbytes)
    require(np.array_equal(library.get(taken), values), "its values were overwritten")


def _its_stream(library: Library, shape: tuple[int, ...]) -> str:
    handle = stream_handle(library.stream())
    stream = Stream(Device.open(), handle)
    values = _random(shape, 6)
    found = view("image", library.put(values), stream)
    require(np.array_equal(download(stream, found.pointer, shape), values), "other values")
    return f"handle {handle:#x}"


def torch_arrays() -> Library:
    import torch  # noqa: PLC0415

    if not torch.cuda.is_available():
        raise SkippedError("PyTorch finds no GPU")

    def late(values: NDArray[Any]) -> Any:
        given = torch.from_numpy(values).cuda()
        array, factor = torch.zeros_like(given), torch.rand(2048, 2048, device="cuda")
        torch.cuda.synchronize()
        # What asks for the array runs in the current stream, which PyTorch's DLPack speaks for.
        for _ in range(50):
            factor = factor @ factor * 1e-3
        array.copy_(given)
        return array

    def by_interface(array: DeviceArray) -> Any:
        taken = torch.as_tensor(array, device="cuda")
        # PyTorch does not heed the stream that the interface names: its users have to.
        array.stream.synchronise()
        return taken

    return Library(
        name="PyTorch",
        put=lambda values: torch.from_numpy(values).cuda(),
        get=lambda array: array.cpu().numpy(),
        late=late,
        transposed=lambda array: array.transpose(-1, -2),
        by_dlpack=torch.from_dlpack,
        by_interface=by_interface,
        stream=torch.cuda.current_stream,
    )


def cupy_arrays() -> Library:
    import cupy  # noqa: PLC0415

    def late(values: NDArray[Any]) -> Any:
        given, array = cupy.asarray(values), cupy.zeros(values.shape, cupy.float32)
        factor = cupy.random.rand(2048, 2048, dtype=cupy.float32)
        cupy.cuda.runtime.deviceSynchronize()
        stream = cupy.cuda.Stream(non_blocking=True)
        with stream:  # the array interface names it
            for _ in range(50):
                factor = factor @ factor * cupy.float32(1e-3)
            array[...] = given
            return Following((array, stream), array.__cuda_array_interface__)

    return Library(
        name="CuPy",
        put=cupy.asarray,
        get=cupy.asnumpy,
        late=late,
        transposed=lambda array: array.swapaxes(-1, -2),
        by_dlpack=cupy.from_dlpack,
        by_interface=cupy.asarray,
        stream=cupy.cuda.get_current_stream,
    )


@dataclass(frozen=True)
class Following:
    """An array's interface as it was asked for in the stream that computes it, and both."""

    owners: Any
    __cuda_array_interface__: dict[str, Any]
