"""TensorRT and TensorRT-RTX: compiled engines on NVIDIA GPUs.

Host arrays pass through pinned memory, with one captured CUDA graph per shape; GPU arrays are used
in place, on the caller's stream, with no copy and no wait (`EngineSession.enqueue`).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.cuda_arrays import LEGACY, DeviceArray, View, stream_handle, view
from runtime.backends.cuda_device import Device, Stream, gpu_missing
from runtime.backends.cuda_latents import Drawer
from runtime.backends.session import Arrays, Layer
from runtime.backends.tensorrt_engine import LoadedEngine, load_library, this_machine
from runtime.backends.tensorrt_stream import EngineStream
from runtime.bundle import engine_cache, engine_entry
from runtime.bundle.engine_entry import Engine, Library, Machine
from runtime.bundle.graph_entry import Numerics
from runtime.errors import BackendError, ParameterError
from runtime.latents import Region

_logger = logging.getLogger(__name__)

ALIGNMENT = 256
"""Bytes that the addresses of an engine's inputs and outputs must be multiples of."""

STREAMS = 2
"""Streams with their own contexts: one computes while the other's images cross the bus."""


class EngineSession:
    """One engine, loaded; every method may be called from many threads at once."""

    def __init__(
        self,
        loaded: LoadedEngine,
        engine: Engine,
        where: str,
        following: Callable[[], EngineSession] | None = None,
    ) -> None:
        """`following` opens the engine for shapes that this one does not hold."""
        self.engine = engine
        self._following = following
        self._next: EngineSession | None = None
        self._opening = threading.Lock()
        self._loaded = loaded
        self._where = where
        self._idle: queue.LifoQueue[EngineStream] = queue.LifoQueue()
        self._drawer, self._no_drawer = _drawer(loaded)
        self._streams = [EngineStream(loaded, self._profile, self._drawer) for _ in range(STREAMS)]
        for each in self._streams:
            self._idle.put(each)

    @property
    def draws_latents(self) -> bool:
        """Whether latents given as `Region` are drawn on the GPU."""
        return self._drawer is not None

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name, all on the host.

        A latent given as `latents.Region` is drawn on the GPU and does not cross the bus.

        Raises:
            BackendError: a shape outside every profile, no memory, or the GPU failed.
        """
        arrays = {name: self._input(name, value) for name, value in feeds.items()}
        other = self._other({name: array.shape for name, array in arrays.items()})
        if other is not None:
            return other.run(feeds)
        with self._stream() as stream:
            return stream.run(arrays)

    def enqueue(
        self, feeds: Mapping[str, Any], stream: Any, outputs: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Put a run of GPU arrays into the caller's stream and return at once.

        Nobody waits, and nothing is copied but arrays whose address is no multiple of `ALIGNMENT`.
        The inputs must stay unchanged until the stream has finished this run; they and the stream
        are kept alive until then. Capturing it into a CUDA graph of the caller's is not supported.

        Args:
            feeds: inputs by name: `__cuda_array_interface__` or DLPack, contiguous; a
                `latents.Region` is drawn in the stream.
            stream: of PyTorch, CuPy, PyCUDA or Numba, or its handle as an integer; not 0 or 1, the
                default stream, on which TensorRT waits for the whole GPU.
            outputs: arrays to write to, by name; others are allocated in the stream.

        Returns:
            Every output by name: the arrays given, and `DeviceArray`s.

        Raises:
            ParameterError: an array of another type or not on the GPU.
            BackendError: as `run`.
        """
        handle = stream_handle(stream)
        if handle in (0, LEGACY):
            raise ParameterError(
                "stream is the default stream, on which TensorRT waits for the whole GPU: make one"
            )
        device = self._loaded.device
        device.use()
        target = Stream(device, handle)
        feeds = {name: self._drawn(name, each, target) for name, each in feeds.items()}
        views = {name: _aligned(view(name, each, target), target) for name, each in feeds.items()}
        for name, each in views.items():
            self._check(name, each.dtype)
        shapes = {name: each.shape for name, each in views.items()}
        if (other := self._other(shapes)) is not None:
            return other.enqueue(feeds, stream, outputs)
        results: dict[str, Any] = dict(outputs or {})
        pointers = {name: each.pointer for name, each in views.items()}
        with self._stream() as own:
            unaligned: list[tuple[DeviceArray, View]] = []
            for name, (shape, dtype) in own.outputs(shapes).items():
                if name not in results:
                    results[name] = DeviceArray(target, shape, dtype)
                    pointers[name] = results[name].pointer
                    continue
                given = view(name, results[name], target)
                if (given.shape, given.dtype) != (shape, dtype):
                    raise ParameterError(
                        f"output '{name}' is {given.dtype} {list(given.shape)}: it must be "
                        f"{dtype} {list(shape)}"
                    )
                pointers[name] = given.pointer
                if given.pointer % ALIGNMENT:
                    unaligned.append((DeviceArray(target, shape, dtype), given))
                    pointers[name] = unaligned[-1][0].pointer
            kept = (stream, *views.values(), *results.values())
            own.enqueue(shapes, pointers, target, kept)
            for made, given in unaligned:
                target.copy(given.pointer, made.pointer, made.nbytes)
        return results

    def layer_times(self, feeds: Arrays, runs: int) -> list[Layer]:
        """Every layer with its mean over so many runs, by the library's profiler.

        Raises:
            BackendError: as `run`.
        """
        other = self._other({name: value.shape for name, value in feeds.items()})
        if other is not None:
            return other.layer_times(feeds, runs)
        with self._stream() as stream:
            times = stream.layer_times({n: self._host(n, v) for n, v in feeds.items()}, runs)
        return [Layer(name, "engine layer", seconds) for name, seconds in times.items()]

    def close(self) -> None:
        """Free everything on the GPU; waits for what is running."""
        for each in self._streams:
            each.close()
        if self._next is not None:
            self._next.close()

    def _other(self, shapes: Mapping[str, tuple[int, ...]]) -> EngineSession | None:
        """The next engine's session for shapes that this engine does not hold; None: none."""
        if self._following is None or self.engine.holds(shapes) is not None:
            return None
        with self._opening:
            self._next = self._next or self._following()
        return self._next

    @contextlib.contextmanager
    def _stream(self) -> Iterator[EngineStream]:
        """An idle stream, which nobody else gets meanwhile."""
        stream = self._idle.get()
        try:
            yield stream
        finally:
            self._idle.put(stream)

    def _input(self, name: str, value: Any) -> Any:
        """A region that the GPU will draw, or an array."""
        if not isinstance(value, Region):
            return self._host(name, value)
        if self._drawer is None:
            return self._host(name, value.values())
        self._check(name, np.dtype(np.float32))
        return value

    def _drawn(self, name: str, value: Any, stream: Stream) -> Any:
        """A region as a GPU array, drawn in the stream; anything else as it is."""
        if not isinstance(value, Region):
            return value
        if self._drawer is None:
            raise BackendError(f"'{name}' cannot be drawn on the GPU: {self._no_drawer}")
        self._check(name, np.dtype(np.float32))
        array = DeviceArray(stream, value.shape, np.dtype(np.float32))
        self._drawer.enqueue(value, array.pointer, stream)
        return array

    def _host(self, name: str, value: NDArray[Any]) -> NDArray[Any]:
        array = np.asarray(value)
        self._check(name, array.dtype)
        return array

    def _check(self, name: str, dtype: np.dtype[Any]) -> None:
        if name not in self._loaded.inputs:
            raise ParameterError(
                f"the engine has no input '{name}': it takes {', '.join(self._loaded.inputs)}"
            )
        if dtype != self._loaded.inputs[name]:
            raise ParameterError(
                f"input '{name}' is {dtype}: the engine takes {self._loaded.inputs[name]}"
            )

    def _profile(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """The profile that holds these shapes."""
        if missing := [name for name in self._loaded.inputs if name not in shapes]:
            raise ParameterError(f"input '{missing[0]}' is missing")
        index = self.engine.holds(shapes)
        if index is None:
            given = ", ".join(f"{n} {'×'.join(map(str, s))}" for n, s in shapes.items())
            raise BackendError(
                f"{given} is outside the engine's shapes "
                f"({engine_entry.describe_ranges(self.engine)}): "
                "give tiles or smaller images, or compile a larger one: "
                f"{engine_entry.command(self.engine.library, self._where)} "
                "--max HEIGHTxWIDTH --batch N"
            )
        return index


def _aligned(given: View, stream: Stream) -> View:
    """An input, copied in the stream where an engine could not read it in place."""
    if given.pointer % ALIGNMENT == 0:
        return given
    made = DeviceArray(stream, given.shape, given.dtype)
    stream.copy(made.pointer, given.pointer, made.nbytes)
    return View(made.pointer, made.shape, made.dtype, (made, given.owner))


def open_tensorrt(
    graph: bytes, numerics: Numerics, threads: int, folder: Path | None
) -> EngineSession:
    """A session on TensorRT; the engine comes from the bundle or the user's cache."""
    return open_engine("tensorrt", graph, folder, tf32=numerics.tf32)


def open_rtx(graph: bytes, numerics: Numerics, threads: int, folder: Path | None) -> EngineSession:
    """A session on TensorRT-RTX; the engine comes from the bundle or the user's cache."""
    return open_engine("tensorrt-rtx", graph, folder, tf32=numerics.tf32)


def open_engine(
    library: Library, graph: bytes, folder: Path | None, *, tf32: bool = False
) -> EngineSession:
    """Load the engine that was compiled from a graph and fits this machine.

    Of several the one for the smallest shapes is loaded, and the next when shapes come that it does
    not hold.

    Args:
        library: which one.
        graph: the ONNX bytes.
        folder: the bundle's, or None to look in the cache only.
        tf32: whether the graph allows TF32.

    Raises:
        BackendError: no library, no driver, or no fitting engine; says what to do.
    """
    device = Device.open()
    trt = load_library(library)
    machine = this_machine(library, device)
    place = str(folder or ".")
    found = engine_cache.of_graph(hashlib.sha256(graph).hexdigest(), folder)
    fits = engine_entry.fitting(found, machine, place, tf32=tf32)

    def session(index: int) -> EngineSession:
        has_next = index + 1 < len(fits)
        following = functools.partial(session, index + 1) if has_next else None
        return _open(trt, device, machine, fits[index], place, following)

    return session(0)


def _open(
    trt: Any,
    device: Device,
    machine: Machine,
    found: tuple[Engine, Path],
    place: str,
    following: Callable[[], EngineSession] | None,
) -> EngineSession:
    (engine, path), library = found, machine.library
    data = engine_cache.read(engine, path)
    capability = machine.compute_capability
    remedy = f"compile a fitting one: {engine_entry.command(library, place, capability)}"
    host_code = engine.version_compatible
    loaded = LoadedEngine(trt, library, device, data, str(path), remedy, host_code=host_code)
    if library == "tensorrt-rtx":
        loaded.use_runtime_cache(_runtime_cache(engine, machine))
    return EngineSession(loaded, engine, place, following)


def _drawer(loaded: LoadedEngine) -> tuple[Drawer | None, str]:
    """The drawer of latents on this GPU, or None and the reason; the host draws the same bits."""
    try:
        return Drawer.open(loaded.device), ""
    except BackendError as error:
        _logger.info("latents are drawn on the host: %s", error)
        return None, str(error)


def has_tensorrt() -> bool:
    """Whether a GPU answers; raises `BackendError` if TensorRT is not installed."""
    return _usable("tensorrt")


def has_rtx() -> bool:
    """Whether a GPU answers; raises `BackendError` if TensorRT-RTX is not installed."""
    return _usable("tensorrt-rtx")


def _usable(library: Library) -> bool:
    load_library(library)
    return gpu_missing() is None


def _runtime_cache(engine: Engine, machine: Machine) -> Path:
    """Where TensorRT-RTX keeps the kernels it made for an engine on this machine."""
    name = f"{engine.sha256[:12]}.{machine.version}.{machine.compute_capability}.runtime-cache"
    return engine_cache.folder() / name
