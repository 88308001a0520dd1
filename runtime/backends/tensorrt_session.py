"""One engine as a session: runs on host arrays, and on GPU arrays in the caller's stream."""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from runtime.backends.cuda.arrays import DeviceArray, View, aligned, stream_handle, view
from runtime.backends.cuda.latents import Drawer
from runtime.backends.cuda.stream import LEGACY, Stream, beside_captures
from runtime.backends.session import Arrays, Layer, Shapes
from runtime.backends.tensorrt_engine import LoadedEngine
from runtime.backends.tensorrt_stream import EngineStream, shape_key
from runtime.bundle.engines import fit
from runtime.bundle.engines.entry import Engine
from runtime.errors import BackendError, GpuMemoryError, ParameterError
from runtime.latents import Region
from runtime.system.gpus import Card

T = TypeVar("T")

_logger = logging.getLogger(__name__)

ALIGNMENT = 256
"""Bytes that the addresses of an engine's inputs and outputs must be multiples of."""

STREAMS = 2
"""Streams with their own contexts: one computes while the other's images cross the bus."""


class EngineSession:
    """One engine, loaded; every method may be called from many threads at once.

    The caller's CUDA context is current again after every call. A session that nobody holds any
    more waits for what it has queued and frees everything, as `close` does.
    """

    def __init__(
        self,
        loaded: LoadedEngine,
        engine: Engine,
        where: str,
        others: Sequence[Engine] = (),
        open_other: Callable[[int], EngineSession] | None = None,
    ) -> None:
        """`open_other` opens one of the `others`, by its index: for shapes not held here."""
        self.engine = engine
        self._others, self._open_other = others, open_other
        self._opened: dict[int, EngineSession] = {}
        self._opening = threading.Lock()
        self._loaded = loaded
        self._device = loaded.device
        self._idle: queue.LifoQueue[EngineStream] = queue.LifoQueue()
        self._streams: list[EngineStream] = []
        self._dropped = weakref.finalize(self, _free_dropped, loaded, self._streams)
        self._dropped.atexit = False  # other threads may still use it then
        # The streams may not refer to the session: that would keep it.
        profile = functools.partial(fit.profile_for, tuple(loaded.inputs), (engine, *others), where)
        with self._device.current():
            self._drawer, self._no_drawer = Drawer.find(self._device)
            for _ in range(STREAMS):
                self._streams.append(EngineStream(loaded, profile, self._drawer))
        self._usable = len(self._streams)
        for each in self._streams:
            self._idle.put(each)

    @property
    def card(self) -> Card:
        """The GPU that it runs on."""
        return Card(self._device.name, self._device.multiprocessors, self._device.l2)

    def engine_for(self, shapes: Shapes) -> Engine:
        """The engine that runs inputs of these shapes: this one, or the first other to hold them.

        Raises:
            GpuMemoryError, BackendError: the other one cannot be loaded.
        """
        other = self._other(shapes)
        return self.engine if other is None else other.engine_for(shapes)

    @property
    def draws_latents(self) -> bool:
        """Whether latents given as `Region` are drawn on the GPU."""
        return self._drawer is not None

    @property
    def graph_runs(self) -> int:
        """How many runs on host arrays replayed a captured graph."""
        return sum(each.graph_runs for each in self._streams)

    def run(self, feeds: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name, all on the host.

        A latent given as `latents.Region` is drawn on the GPU and does not cross the bus.

        Raises:
            GpuMemoryError: the GPU has too little free memory.
            BackendError: a shape outside every profile, or the GPU failed.
        """
        arrays = {name: self._input(name, value) for name, value in feeds.items()}
        other = self._other({name: array.shape for name, array in arrays.items()})
        if other is not None:
            return other.run(feeds)
        with self._device.current():
            return self._on_a_stream(lambda stream: stream.run(arrays))

    def reserve(self, shapes: Shapes, runs: int = 1) -> None:
        """Take the GPU memory that a run of these shapes needs, before the run.

        TensorRT-RTX compiles kernels for shapes that an image runs more than once before its first
        run, so that all its windows are computed by the same kernels.

        Args:
            shapes: of every input.
            runs: how many the image will take.

        Raises:
            GpuMemoryError: the GPU has too little free memory.
            BackendError: a shape outside every profile, or the GPU failed.
        """
        if (other := self._other(shapes)) is not None:
            other.reserve(shapes, runs)
            return
        if runs > 1:
            self._loaded.has_run(shape_key(shapes))
        # Where latents can be drawn here, they usually are.
        drawn = [name for name in shapes if name.startswith("z") and self.draws_latents]
        with self._device.current():
            self._on_a_stream(lambda stream: stream.reserve(shapes, drawn))

    def enqueue(
        self, feeds: Mapping[str, Any], stream: Any, outputs: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Put a run of GPU arrays into the caller's stream and return at once.

        Nobody waits, and nothing is copied but arrays whose address is no multiple of `ALIGNMENT`.
        The inputs must stay unchanged until the stream has finished this run; they and the stream
        are kept alive until then. Capturing it into a CUDA graph of the caller's is not supported.

        Args:
            feeds: inputs by name: `__cuda_array_interface__` or DLPack, contiguous, on the
                session's GPU; a `latents.Region` is drawn in the stream.
            stream: of PyTorch, CuPy, PyCUDA or Numba, or its handle as an integer; not 0 or 1, the
                default stream, on which TensorRT waits for the whole GPU.
            outputs: arrays to write to, by name; others are allocated in the stream.

        Returns:
            Every output by name: the arrays given, and `DeviceArray`s.

        Raises:
            ParameterError: an array or a stream that cannot be used here.
            GpuMemoryError, BackendError: as `run`; or the stream was destroyed.
        """
        handle = stream_handle(stream)
        if handle in (0, LEGACY):
            raise ParameterError(
                "stream is the default stream, on which TensorRT waits for the whole GPU: create "
                "one"
            )
        with self._device.current():
            self._device.check_stream(handle)
            target = Stream(self._device, handle, stream)
            drawn = {name: self._drawn(name, each, target) for name, each in feeds.items()}
            views = {n: aligned(view(n, a, target), ALIGNMENT, target) for n, a in drawn.items()}
            for name, each in views.items():
                self._check(name, each.dtype)
            shapes = {name: each.shape for name, each in views.items()}
            if (other := self._other(shapes)) is not None:
                return other.enqueue(drawn, stream, outputs)
            return self._on_a_stream(lambda own: _enqueue(own, views, target, outputs or {}))

    def layer_times(self, feeds: Arrays, runs: int) -> list[Layer]:
        """Every layer with its mean over so many runs, by the library's profiler.

        Raises:
            BackendError: as `run`.
        """
        other = self._other({name: value.shape for name, value in feeds.items()})
        if other is not None:
            return other.layer_times(feeds, runs)
        arrays = {name: self._host(name, value) for name, value in feeds.items()}
        with self._device.current():
            times = self._on_a_stream(lambda stream: stream.layer_times(arrays, runs))
        return [Layer(name, "engine layer", seconds) for name, seconds in times.items()]

    def close(self) -> None:
        """Free everything on the GPU; waits for what is running. It cannot be used any more."""
        if self._dropped.detach() is not None:
            _free(self._loaded, self._streams)
        for other in self._opened.values():
            other.close()

    def _other(self, shapes: Mapping[str, tuple[int, ...]]) -> EngineSession | None:
        """The first other engine's session that holds shapes which this one does not; or None."""
        if self._open_other is None or self.engine.holds(shapes) is not None:
            return None
        holding = (i for i, each in enumerate(self._others) if each.holds(shapes) is not None)
        if (index := next(holding, None)) is None:
            return None
        with self._opening:
            if index not in self._opened:
                self._opened[index] = self._open_other(index)
            return self._opened[index]

    def _on_a_stream(self, work: Callable[[EngineStream], T]) -> T:
        """What `work` gives on an idle stream, which nobody else gets meanwhile.

        A stream that finds no memory gives back its own and is left out, as long as others remain;
        the last one tries once more.
        """
        if not self._dropped.alive:
            raise BackendError("the session is closed: open another one")
        last = False
        while True:
            with contextlib.ExitStack() as after:
                stream = self._idle.get()
                after.callback(self._idle.put, stream)
                try:
                    return work(stream)
                except GpuMemoryError:
                    stream.clear()
                    if last:
                        raise
                    with self._opening:
                        last = self._usable == 1
                        self._usable -= not last
                    if not last:
                        after.pop_all()
            _logger.info("GPU memory is short: %d run at a time", self._usable)

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


def _free(loaded: LoadedEngine, streams: Sequence[EngineStream]) -> None:
    """Free a session's memory, the engine's with it; waits for what is running."""
    with loaded.device.current():
        for each in streams:
            each.close()
        loaded.save_runtime_cache()
        loaded.unload()
        loaded.device.trim()


def _free_dropped(loaded: LoadedEngine, streams: Sequence[EngineStream]) -> None:
    """`_free` for a session that nobody holds, at whatever moment; nobody can catch its errors."""
    try:
        with beside_captures():
            _free(loaded, streams)
    except BackendError as error:
        _logger.warning("a session that was dropped keeps GPU memory: %s", error)


def _enqueue(
    own: EngineStream, views: Mapping[str, View], target: Stream, outputs: Mapping[str, Any]
) -> dict[str, Any]:
    """Put a run into the caller's stream; outputs are the given ones, others are made there."""
    results: dict[str, Any] = dict(outputs)
    pointers = {name: each.pointer for name, each in views.items()}
    shapes = {name: each.shape for name, each in views.items()}
    unaligned: list[tuple[DeviceArray, View]] = []
    wanted = own.outputs(shapes)
    if strange := [name for name in outputs if name not in wanted]:
        raise ParameterError(
            f"the engine has no output '{strange[0]}': it gives {', '.join(wanted)}"
        )
    for name, (shape, dtype) in wanted.items():
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
    # What is made here returns to the same stream, after the run, of its own accord.
    own.enqueue(shapes, pointers, target, (target, *views.values(), *outputs.values()))
    for made, given in unaligned:
        target.copy(given.pointer, made.pointer, made.nbytes)
    return results
