"""Seeded mistakes, one for each rule: the simulated device must see them."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import numpy as np

from runtime.backends import tensorrt_session
from runtime.backends.cuda.arrays import DeviceArray, view
from runtime.backends.cuda.device import Device
from runtime.backends.cuda.driver import check, driver
from runtime.backends.cuda.stream import PER_THREAD, Event, Stream
from runtime.backends.tensorrt_stream import EngineStream, Prepared
from runtime.errors import BackendError
from tests.simulated.rig import (
    broken,
    caught,
    download,
    feeds,
    fine,
    forget_while_another_stream_copies,
    gpus,
    new_stream,
    of_another_library,
    raises,
    scenario,
    session,
    upload,
)


@scenario
def mistake_reading_before_synchronising(folder: Path) -> None:
    s = session(folder)
    Stream.synchronise, right = lambda self: None, Stream.synchronise  # type: ignore[method-assign]
    try:
        assert np.isnan(s.run(feeds())["hr"]).all()
    finally:
        Stream.synchronise = right  # type: ignore[method-assign]


@scenario
def mistake_an_address_not_set(folder: Path) -> None:
    s = session(folder)
    own = s._streams[-1]
    stream = new_stream()
    given = upload(stream, feeds())
    pointers = {n: a.pointer for n, a in given.items()}  # and none for the output
    shapes = {n: a.shape for n, a in given.items()}
    raises(AssertionError, "'hr' is not set", lambda: own.enqueue(shapes, pointers, stream))


@scenario
def mistake_a_shape_outside_the_profile(folder: Path) -> None:
    s = session(folder)
    own = s._streams[-1]
    own._profile = lambda shapes: 0  # type: ignore[assignment]
    shapes = {name: value.shape for name, value in feeds(height=30).items()}
    raises(BackendError, "outside the profile", lambda: own._prepared_for(shapes))


@scenario
def mistake_memory_freed_in_flight(folder: Path) -> None:
    s = session(folder)
    stream = new_stream()
    values = feeds()
    given = upload(stream, values)
    s.enqueue(given, stream.handle)
    (made,) = s._streams[-1]._prepared.values()
    assert made is not None
    s._streams[-1]._scratch.free()  # type: ignore[union-attr]
    caught("freed in flight")


@scenario
def mistake_a_graph_replayed_with_stale_addresses(folder: Path) -> None:
    s = session(folder)
    right = Prepared.drop_graph
    Prepared.drop_graph = lambda self: None  # type: ignore[method-assign]
    try:
        small, large = feeds(1, 2, 2), feeds(2, 16, 16)
        for values in (small, small, small, large, small):
            s.run(values)
    finally:
        Prepared.drop_graph = right  # type: ignore[method-assign]
    caught("stale address")


@scenario
def mistake_a_staging_buffer_rewritten_too_early(folder: Path) -> None:
    stream = new_stream()
    pinned = stream.device.pinned((4,), np.dtype(np.float32))
    array = DeviceArray(stream, (4,), np.dtype(np.float32))
    pinned.array[...] = 1
    stream.upload(array.pointer, pinned)
    pinned.array[...] = 2
    assert (download(stream, array) == 2).all()  # the copy saw the later values


@scenario
def mistake_streams_not_ordered(folder: Path) -> None:
    s = session(folder)
    tensorrt_session.view, right = (
        lambda n, a, st: view(n, of_another_library(a, stream=None), st),
        tensorrt_session.view,
    )
    try:
        producer, consumer = new_stream(), new_stream()
        given = upload(producer, feeds())
        result = s.enqueue(given, consumer.handle)["hr"]
        assert np.isnan(download(consumer, result)).all()
    finally:
        tensorrt_session.view = right


@scenario
def mistake_one_context_on_two_streams_at_once(folder: Path) -> None:
    s = session(folder)
    first, second = new_stream(), new_stream()
    right = EngineStream._follow
    EngineStream._follow = lambda self, stream: None  # type: ignore[method-assign]
    try:
        s.enqueue(upload(first, feeds()), first.handle)
        result = s.enqueue(upload(second, feeds()), second.handle)["hr"]
        download(second, result)
    finally:
        EngineStream._follow = right  # type: ignore[method-assign]
    caught("nothing orders them")


@scenario
def mistake_memory_freed_twice(folder: Path) -> None:
    buffer = Device.open().allocate(16)
    buffer.free()
    try:
        buffer.free()
    except BackendError:
        caught("freed twice")
    else:
        raise AssertionError("freed twice without a word")


@scenario
def mistake_waiting_inside_a_capture(folder: Path) -> None:
    stream = new_stream()
    raises(BackendError, "the GPU reports", lambda: stream.capture(stream.synchronise))
    caught("waited for during its capture")


@scenario
def events_measure_and_order(folder: Path) -> None:
    stream = new_stream()
    first, second = Event(timing=True), Event(timing=True)
    stream.record(first)
    stream.record(second)
    second.synchronise()
    assert second.milliseconds_since(first) > 0
    fine()


def _by_handle(self: EngineStream, stream: Stream) -> None:
    """Wait only where the handle is another than the last one's."""
    if getattr(self, "last", stream.handle) != stream.handle:
        stream.wait(self._idle)
    self.last = stream.handle  # type: ignore[attr-defined]


@scenario
def mistake_a_handle_taken_for_a_stream_that_was_destroyed(folder: Path) -> None:
    s = session(folder)
    first = new_stream()
    with broken(EngineStream, "_follow", _by_handle):
        s.enqueue(upload(first, feeds(seed=1)), first.handle)
        check(driver().cuStreamDestroy(first.handle))
        second = new_stream()
        result = s.enqueue(upload(second, feeds(seed=2)), second.handle)["hr"]
        download(second, result)
    caught("nothing orders them")


@scenario
def mistake_one_handle_taken_for_the_same_stream_in_every_thread(folder: Path) -> None:
    s = session(folder)

    def work() -> None:
        Device.open().use()
        stream = Stream(Device.open(), PER_THREAD)
        result = s.enqueue(upload(stream, feeds(seed=2)), PER_THREAD)["hr"]
        download(stream, result)

    with broken(EngineStream, "_follow", _by_handle):
        mine = Stream(Device.open(), PER_THREAD)
        s.enqueue(upload(mine, feeds(seed=1)), PER_THREAD)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    caught("nothing orders them")


@scenario
def mistake_an_address_that_is_not_aligned(folder: Path) -> None:
    s, stream, values = session(folder), new_stream(), feeds()
    given = upload(stream, values)
    room = DeviceArray(stream, (values["lr"].size + 1,), np.dtype(np.float32))
    shifted = of_another_library(room, shape=given["lr"].shape, data=(room.pointer + 4, False))
    with broken(tensorrt_session, "aligned", lambda view, alignment, stream: view):
        text = "the address of 'lr' is no multiple of 256"
        raises(AssertionError, text, lambda: s.enqueue(given | {"lr": shifted}, stream.handle))


@scenario
def mistake_memory_of_a_pool_used_before_its_stream_allocates_it(folder: Path) -> None:
    first, second = new_stream(), new_stream()
    array = DeviceArray(first, (4,), np.dtype(np.float32))
    source = upload(second, {"x": np.zeros(4, np.float32)})["x"]
    second.copy(array.pointer, source.pointer, source.nbytes)
    second.synchronise()
    caught("before its stream allocates it")


@scenario
def mistake_memory_freed_before_the_work_of_whoever_took_it(folder: Path) -> None:
    with broken(DeviceArray, "__del__", lambda self: self.stream.free(self.pointer)):
        forget_while_another_stream_copies()
    caught("nothing orders them")


@scenario
def mistake_the_context_of_another_gpu(folder: Path) -> None:
    with gpus(2):
        s = session(folder, 1)
        with broken(Device, "current", lambda self: contextlib.nullcontext()):
            s.run(feeds())
    caught("another GPU")
