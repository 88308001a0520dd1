"""One stream that runs an engine: for each shape a context, buffers and one captured graph.

A captured graph holds addresses, so each shape has its own context and buffers, and whatever moves
memory drops the graphs that hold its address. The stream's contexts share scratch memory: they run
one after another. Everything here is called while the GPU's context is current.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends.cuda.device import Buffer
from runtime.backends.cuda.latents import Drawer
from runtime.backends.cuda.stream import Event, Stream
from runtime.backends.session import Shapes
from runtime.backends.tensorrt_engine import LoadedEngine, profiler
from runtime.backends.tensorrt_prepared import Prepared
from runtime.errors import BackendError, GpuMemoryError
from runtime.latents import Region

if TYPE_CHECKING:
    import tensorrt_rtx_bindings.tensorrt_rtx as api  # TensorRT has the same

MOST_SHAPES = 8
"""Shapes whose buffers and graph a stream keeps; the one unused for longest goes."""

_logger = logging.getLogger(__name__)


class EngineStream:
    """Runs an engine on one stream, one run at a time; callers take turns."""

    def __init__(
        self, loaded: LoadedEngine, profile: Callable[[Shapes], int], drawer: Drawer | None = None
    ) -> None:
        self.graph_runs = 0
        self._loaded = loaded
        self._drawer = drawer
        self._profile = profile
        self._stream = Stream.make(loaded.device)
        self._idle = Event()
        self._prepared: OrderedDict[tuple[Any, ...], Prepared] = OrderedDict()
        self._scratch: Buffer | None = None
        self._kept: deque[tuple[Event, tuple[Any, ...]]] = deque()

    def outputs(self, shapes: Shapes) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
        """Shape and dtype of every output for these input shapes; raises as `reserve`."""
        return self._with_memory(lambda: self._prepared_for(shapes)).outputs

    def reserve(self, shapes: Shapes, drawn: Sequence[str] = ()) -> None:
        """Take the memory that a run on host arrays of these shapes needs.

        Raises:
            GpuMemoryError: there is not enough, even without what other shapes keep.
        """
        self._ready(shapes, drawn)

    def run(self, arrays: Mapping[str, NDArray[Any] | Region]) -> dict[str, NDArray[Any]]:
        """Run on host arrays and regions to be drawn; returns host arrays when they are ready.

        Raises:
            GpuMemoryError: as `reserve`.
        """
        shapes = {name: array.shape for name, array in arrays.items()}
        drawn = [name for name, array in arrays.items() if isinstance(array, Region)]
        prepared = self._ready(shapes, drawn)
        self._follow(self._stream)
        for name, array in arrays.items():
            prepared.host[name].array[...] = array.words() if isinstance(array, Region) else array
        if prepared.graph is None and prepared.runs == 1 and prepared.capturable:
            self._capture(prepared)
        if prepared.graph is not None:
            self._stream.launch(prepared.graph)
            self.graph_runs += 1
        else:
            self._work(prepared)
        self._stream.record(self._idle)
        self._stream.synchronise()
        prepared.runs += 1
        self._ran(prepared, shapes)
        return {name: prepared.host[name].array.copy() for name in prepared.outputs}

    def enqueue(
        self,
        shapes: Shapes,
        pointers: Mapping[str, int],
        stream: Stream,
        kept: tuple[Any, ...] = (),
    ) -> None:
        """Put a run on these addresses into the caller's stream, and do not wait.

        `kept` are the objects that own the memory and the stream; they live until the run is over.
        """
        self._release()
        prepared = self._with_memory(lambda: self._prepared_for(shapes))
        self._follow(stream)
        self._execute(prepared, pointers, stream)
        over = Event()
        stream.record(over)
        stream.record(self._idle)  # the last one: who waits for it has waited for `over`
        self._kept.append((over, (*kept, prepared.context)))
        self._ran(prepared, shapes)

    def layer_times(self, arrays: Mapping[str, NDArray[Any]], runs: int) -> dict[str, float]:
        """Mean seconds of every layer; runs without a graph, which would hide the layers."""
        shapes = {name: array.shape for name, array in arrays.items()}
        self.run(arrays)
        prepared = self._prepared_for(shapes)
        prepared.drop_graph()
        prepared.capturable = False
        times, prepared.context.profiler = profiler(self._loaded.trt)
        for _ in range(runs):
            self.run(arrays)
        self._prepared.pop(shape_key(shapes)).free()  # its context would go on being profiled
        return {name: seconds / runs for name, seconds in times.items()}

    def clear(self) -> None:
        """Free the memory of every shape; waits for what is running."""
        self._wait()
        self._release()
        for prepared in self._prepared.values():
            prepared.free()
        self._prepared.clear()
        if self._scratch is not None:
            self._scratch.free()
            self._scratch = None

    def close(self) -> None:
        """Free everything; waits for what is running."""
        self.clear()
        self._stream.destroy()
        self._idle.destroy()

    def _follow(self, stream: Stream) -> None:
        """Let a stream wait on the GPU for this object's last run: they share scratch memory."""
        # Handles tell nothing: one of a destroyed stream returns, and 2 is each thread's own.
        stream.wait(self._idle)

    def _release(self) -> None:
        """Let go of what belonged to runs that are over."""
        while self._kept and self._kept[0][0].is_over:
            over, _ = self._kept.popleft()
            over.destroy()

    def _wait(self) -> None:
        """Wait on the host until nothing of this engine runs here."""
        self._idle.synchronise()
        self._stream.synchronise()

    def _ready(self, shapes: Shapes, drawn: Sequence[str]) -> Prepared:
        """Context, scratch memory and buffers for a run on host arrays."""
        return self._with_memory(lambda: self._staged(shapes, drawn))

    def _with_memory(self, work: Callable[[], Prepared]) -> Prepared:
        """What `work` makes; where memory is short, without what other shapes keep."""
        keeps_memory = bool(self._prepared) or self._scratch is not None
        try:
            return work()
        except GpuMemoryError:
            if not keeps_memory:
                raise
            self.clear()
            return work()

    def _staged(self, shapes: Shapes, drawn: Sequence[str]) -> Prepared:
        prepared = self._prepared_for(shapes, drawn)
        if not prepared.host:
            prepared.stage(self._loaded.device, self._loaded.inputs, shapes)
        return prepared

    def _prepared_for(self, shapes: Shapes, drawn: Sequence[str] = ()) -> Prepared:
        key = shape_key(shapes, drawn)
        eager = self._loaded.came_back(shape_key(shapes))
        if key in self._prepared:
            self._prepared.move_to_end(key)
            prepared = self._prepared[key]
            if eager and not prepared.eager:
                self._compile_for(prepared, shapes)
            return prepared
        if len(self._prepared) >= MOST_SHAPES:
            self._wait()
            self._prepared.popitem(last=False)[1].free()
        context = self._context(shapes, eager)
        outputs = {
            name: (tuple(int(size) for size in context.get_tensor_shape(name)), dtype)
            for name, dtype in self._loaded.outputs.items()
        }
        if bad := [name for name, (shape, _) in outputs.items() if min(shape, default=1) < 0]:
            raise BackendError(f"the engine cannot tell the shape of its output '{bad[0]}'")
        made = Prepared(context, outputs, {name: shapes[name] for name in drawn}, eager=eager)
        self._prepared[key] = made
        return made

    def _compile_for(self, prepared: Prepared, shapes: Shapes) -> None:
        """A context whose kernels are made for these shapes; runs that use the old one keep it."""
        prepared.context = self._context(shapes, eager=True)
        prepared.eager, prepared.has_run, prepared.runs = True, False, 0

    def _context(self, shapes: Shapes, eager: bool) -> api.IExecutionContext:
        """A context with its input shapes and scratch memory set."""
        profile = self._profile(shapes)
        context = self._loaded.context(eager=eager)
        if context.active_optimization_profile != profile:
            context.set_optimization_profile_async(profile, self._stream.handle)
            self._stream.synchronise()
        for name, shape in shapes.items():
            if not self._loaded.call(context.set_input_shape, name, shape):
                raise self._loaded.failure(f"the engine does not take '{name}' as {list(shape)}")
        self._give_scratch(context)
        return context

    def _ran(self, prepared: Prepared, shapes: Shapes) -> None:
        """Remember that a context has run; its first run may have compiled kernels."""
        if prepared.has_run:
            return
        prepared.has_run = True
        self._loaded.has_run(shape_key(shapes))
        self._loaded.save_runtime_cache()

    def _give_scratch(self, context: api.IExecutionContext) -> None:
        size = int(self._loaded.call(context.update_device_memory_size_for_shapes))
        # 0 is the library's word for a failure too.
        if size == 0 and self._loaded.needs_scratch(context.active_optimization_profile):
            raise self._loaded.failure("the engine cannot tell the scratch memory of these shapes")
        if self._scratch is None or self._scratch.size < size:
            self._wait()
            old, self._scratch = self._scratch, None
            for prepared in self._prepared.values():
                prepared.drop_graph()  # it was captured with the old address
                prepared.runs = 0  # the engine prepares itself for the new one in a plain run
            if old is not None:
                old.free()
            try:
                self._scratch = self._loaded.device.allocate(max(size, old.size if old else 0))
            except BackendError:
                while self._prepared:  # their contexts point at what was freed
                    self._prepared.popitem()[1].free()
                raise
            for prepared in self._prepared.values():
                prepared.context.set_device_memory(self._scratch.pointer, self._scratch.size)
        context.set_device_memory(self._scratch.pointer, self._scratch.size)

    def _capture(self, prepared: Prepared) -> None:
        """Record the run as a graph; an engine that cannot be captured runs without one."""
        try:
            if self._loaded.may_be_captured(prepared.context, self._stream.handle):
                prepared.graph = self._stream.capture(lambda: self._work(prepared))
        except BackendError as error:
            _logger.info("this engine runs without CUDA graphs: %s", error)
        prepared.capturable = prepared.graph is not None

    def _work(self, prepared: Prepared) -> None:
        inputs = [name for name in prepared.device if name not in prepared.outputs]
        for name in inputs:
            target = prepared.device[name].pointer
            if name in prepared.drawn:
                assert self._drawer is not None
                place = prepared.host[name].pointer
                self._drawer.enqueue_at(place, prepared.drawn[name], target, self._stream)
            else:
                self._stream.upload(target, prepared.host[name])
        pointers = {name: buffer.pointer for name, buffer in prepared.device.items()}
        self._execute(prepared, pointers, self._stream)
        for name in prepared.outputs:
            self._stream.download(prepared.host[name], prepared.device[name].pointer)

    def _execute(self, prepared: Prepared, pointers: Mapping[str, int], stream: Stream) -> None:
        for name, pointer in pointers.items():
            if not self._loaded.call(prepared.context.set_tensor_address, name, pointer):
                raise self._loaded.failure(f"no address for '{name}'")
        if not self._loaded.call(prepared.context.execute_async_v3, stream.handle):
            raise self._loaded.failure("the engine failed")


def shape_key(shapes: Shapes, drawn: Sequence[str] = ()) -> tuple[Any, ...]:
    """What a stream knows shapes by, and the inputs that are drawn."""
    return tuple(sorted(shapes.items())), tuple(sorted(drawn))
