"""Seeded mistakes, one for each rule: the simulated device must see them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from runtime.backends import tensorrt_session
from runtime.backends.cuda_arrays import DeviceArray, view
from runtime.backends.cuda_device import Device
from runtime.backends.cuda_stream import Event, Stream
from runtime.backends.tensorrt_stream import EngineStream, Prepared
from runtime.errors import BackendError
from tests.simulated.rig import (
    caught,
    download,
    feeds,
    fine,
    new_stream,
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
        lambda n, a, st: view(n, _unordered(a), st),
        tensorrt_session.view,
    )
    try:
        producer, consumer = new_stream(), new_stream()
        given = upload(producer, feeds())
        result = s.enqueue(given, consumer.handle)["hr"]
        assert np.isnan(download(consumer, result)).all()
    finally:
        tensorrt_session.view = right


def _unordered(array: DeviceArray) -> Any:
    interface = array.__cuda_array_interface__ | {"stream": None}
    return type("Array", (), {"__cuda_array_interface__": interface, "owner": array})()


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
