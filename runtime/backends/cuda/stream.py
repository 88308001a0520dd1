"""Streams, events and captured graphs of an NVIDIA GPU.

They are used inside `with device.current():`.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from runtime.backends.cuda.device import Device, Pinned
from runtime.backends.cuda.driver import check, driver
from runtime.errors import BackendError

LEGACY = 1
"""The handle of the default stream, as 0 is; it waits for every stream that does not opt out."""

PER_THREAD = 2
"""The handle that is in each thread another stream: the thread's own default one."""

_THREAD_LOCAL_CAPTURE = 1
_RELAXED_CAPTURE = 2
_NO_FLAGS = 0
_NON_BLOCKING = 1
_DISABLE_TIMING = 2


@contextlib.contextmanager
def beside_captures() -> Iterator[None]:
    """Let this thread wait and free memory while any stream is being captured, by anybody."""
    exchange = driver().cuThreadExchangeStreamCaptureMode
    before = check(exchange(driver().CUstreamCaptureMode(_RELAXED_CAPTURE)))
    try:
        yield
    finally:
        check(exchange(before))


class Stream:
    """Work in order. All methods except `synchronise` return before the work is done.

    Attributes:
        device: whose stream it is.
        handle: the driver's.
        owner: the object that the stream lives as long as; None where nobody else made it.
    """

    def __init__(self, device: Device, handle: int, owner: Any = None) -> None:
        self.device = device
        self.handle = LEGACY if handle == 0 else handle
        self.owner = owner
        self._thread = threading.get_ident()

    @classmethod
    def make(cls, device: Device) -> Stream:
        """A new stream, which does not wait for the default one."""
        with device.current():
            return cls(device, int(check(driver().cuStreamCreate(_NON_BLOCKING))))

    @property
    def is_of_another_thread(self) -> bool:
        """Whether the handle means another stream in the thread that asks."""
        return self.handle == PER_THREAD and threading.get_ident() != self._thread

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
        return self.device.allocate_in(self.handle, size)

    def free(self, pointer: int) -> None:
        """Free a pointer of `allocate` after the work so far in the stream."""
        check(driver().cuMemFreeAsync(pointer, self.handle))

    def record(self, event: Event) -> None:
        """Let the event mark the end of the work in the stream so far."""
        check(driver().cuEventRecord(event.handle, self.handle))

    def wait(self, event: Event) -> None:
        """Let later work in the stream wait for the event."""
        check(driver().cuStreamWaitEvent(self.handle, event.handle, _NO_FLAGS))

    def follow(self, earlier: Stream) -> None:
        """Let later work in this stream wait, on the GPU, for the work so far in another."""
        if earlier.is_of_another_thread or self.is_of_another_thread:
            check(driver().cuCtxSynchronize())  # neither can be named from here
            return
        if earlier.handle == self.handle:
            return
        event = Event()
        earlier.record(event)
        self.wait(event)
        event.destroy()  # the driver keeps it until the wait is over

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
        if not int(graph):
            raise BackendError("the GPU captured nothing")
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
