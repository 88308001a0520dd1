"""GPU arrays on the caller's stream: ordered by events, used in place, alive until the end."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtime.backends.cuda.arrays import DeviceArray, stream_handle, view
from runtime.backends.cuda.device import Device
from runtime.backends.cuda.driver import check, driver
from runtime.backends.cuda.stream import Stream
from runtime.errors import ParameterError
from tests.simulated.rig import (
    DRIVER,
    OnlyDlpack,
    download,
    expected,
    feeds,
    fine,
    forget_while_another_stream_copies,
    new_stream,
    of_another_library,
    raises,
    scenario,
    session,
    upload,
)


def per_thread() -> Stream:
    """The default stream of the thread that asks."""
    return Stream(Device.open(), 2)


@scenario
def a_shape_that_comes_back_on_the_callers_stream_is_compiled_for_without_waiting(
    folder: Path,
) -> None:
    s = session(folder)
    stream, values = new_stream(), feeds()
    given = upload(stream, values)
    results = [s.enqueue(given, stream.handle)["hr"]]  # it makes the shape's first context
    waits = DRIVER.sim_waits()
    results += [s.enqueue(given, stream.handle)["hr"] for _ in range(2)]
    (made,) = s._streams[-1]._prepared.values()
    assert made.context.specialised == "EAGER"
    assert DRIVER.sim_waits() == waits
    for each in results:
        assert np.array_equal(download(stream, each), expected(values))
    fine()


@scenario
def gpu_arrays_run_on_the_callers_stream_without_copy_or_wait(folder: Path) -> None:
    s = session(folder)
    stream = new_stream()
    values = feeds()
    given = upload(stream, values)
    s.enqueue(given, stream.handle)  # the shape's first run prepares its context
    copies, waits = DRIVER.sim_copies(), DRIVER.sim_waits()
    result = s.enqueue(given, stream.handle)["hr"]
    assert (DRIVER.sim_copies(), DRIVER.sim_waits()) == (copies, waits)
    assert DRIVER.sim_pending() > 0  # nothing has run yet
    assert np.array_equal(download(stream, result), expected(values))
    fine()


@scenario
def gpu_arrays_are_written_where_the_caller_says(folder: Path) -> None:
    s = session(folder)
    stream = new_stream()
    values = feeds()
    target = DeviceArray(stream, (1, 3, 12, 20), np.dtype(np.float32))
    result = s.enqueue(upload(stream, values), stream.handle, {"hr": target})
    assert result["hr"] is target
    assert np.array_equal(download(stream, target), expected(values))
    wrong = DeviceArray(stream, (1, 3, 4, 4), np.dtype(np.float32))
    given = upload(stream, values)
    raises(ParameterError, "output 'hr'", lambda: s.enqueue(given, stream.handle, {"hr": wrong}))
    fine()


@scenario
def runs_on_two_streams_wait_for_each_other_on_the_gpu(folder: Path) -> None:
    s = session(folder)
    first, second = new_stream(), new_stream()
    a, b = feeds(seed=1), feeds(seed=2)
    on_first, on_second = upload(first, a), upload(second, b)
    one = s.enqueue(on_first, first.handle)["hr"]
    other = s.enqueue(on_second, second.handle)["hr"]
    assert np.array_equal(download(second, other), expected(b))
    assert np.array_equal(download(first, one), expected(a))
    host = feeds(seed=3)
    assert np.array_equal(s.run(host)["hr"], expected(host))
    fine()


@scenario
def a_stream_that_has_the_handle_of_a_destroyed_one_waits_too(folder: Path) -> None:
    s = session(folder)
    first, a, b = new_stream(), feeds(seed=1), feeds(seed=2)
    s.enqueue(upload(first, a), first.handle)
    check(driver().cuStreamDestroy(first.handle))  # as other libraries do: its work goes on
    second = new_stream()
    assert second.handle == first.handle
    result = s.enqueue(upload(second, b), second.handle)["hr"]
    assert np.array_equal(download(second, result), expected(b))
    fine()


@scenario
def every_threads_own_default_stream_waits_for_the_others(folder: Path) -> None:
    s = session(folder)
    s.enqueue(upload(per_thread(), feeds(seed=1)), 2)
    results = []

    def work() -> None:
        Device.open().use()
        stream = per_thread()
        result = s.enqueue(upload(stream, feeds(seed=2)), 2)["hr"]
        results.append(download(stream, result))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert np.array_equal(results[0], expected(feeds(seed=2)))
    fine()


@scenario
def inputs_live_until_their_run_is_over(folder: Path) -> None:
    s = session(folder)
    stream, values = new_stream(), feeds()
    other = new_stream()
    given = upload(other, values)
    other.synchronise()
    result = s.enqueue(given, stream.handle)["hr"]
    del given  # what frees them in their own stream must not come before the run
    gc.collect()
    other.synchronise()
    assert np.array_equal(download(stream, result), expected(values))
    s.enqueue(upload(stream, values), stream.handle)
    assert sum(len(each._kept) for each in s._streams) == 1  # the first run's are gone
    fine()


@scenario
def arrays_of_an_interface_that_names_no_stream_come_by_dlpack(folder: Path) -> None:
    class LikePyTorch(OnlyDlpack):
        def __init__(self, array: DeviceArray) -> None:
            super().__init__(array)
            interface = array.__cuda_array_interface__ | {"version": 2}
            self.__cuda_array_interface__ = {k: v for k, v in interface.items() if k != "stream"}

    s = session(folder)
    producer, consumer = new_stream(), new_stream()
    values = feeds()
    given = {name: LikePyTorch(each) for name, each in upload(producer, values).items()}
    result = s.enqueue(given, consumer.handle)["hr"]
    assert np.array_equal(download(consumer, result), expected(values))
    fine()


@scenario
def memory_is_freed_after_the_work_of_whoever_took_it(folder: Path) -> None:
    forget_while_another_stream_copies()
    fine()


@scenario
def addresses_that_an_engine_cannot_read_in_place_are_copied(folder: Path) -> None:
    s = session(folder)
    stream, values = new_stream(), feeds()
    given = upload(stream, values)
    shape = given["lr"].shape

    def shifted(array: DeviceArray, shape: tuple[int, ...]) -> Any:
        return of_another_library(array, shape=shape, data=(array.pointer + 4, False))

    room = DeviceArray(stream, (values["lr"].size + 1,), np.dtype(np.float32))
    stream.copy(room.pointer + 4, given["lr"].pointer, given["lr"].nbytes)
    out = DeviceArray(stream, (3 * 12 * 20 + 1,), np.dtype(np.float32))
    target = shifted(out, (1, 3, 12, 20))
    s.enqueue(given | {"lr": shifted(room, shape)}, stream.handle, {"hr": target})
    found = download(stream, out)[1:].reshape(1, 3, 12, 20)
    assert np.array_equal(found, expected(values))
    fine()


@scenario
def an_array_of_another_stream_is_waited_for_on_the_gpu(folder: Path) -> None:
    s = session(folder)
    producer, consumer = new_stream(), new_stream()
    values = feeds()
    given = upload(producer, values)  # still queued there
    result = s.enqueue(given, consumer.handle)["hr"]
    assert np.array_equal(download(consumer, result), expected(values))
    fine()


@scenario
def dlpack_goes_in_and_out_without_a_copy(folder: Path) -> None:
    s = session(folder)
    stream = new_stream()
    values = feeds()
    given = upload(stream, values)
    result = s.enqueue({n: OnlyDlpack(a) for n, a in given.items()}, stream.handle)["hr"]
    again = view("hr", OnlyDlpack(result), stream)
    assert again.pointer == result.pointer
    assert np.array_equal(download(stream, result), expected(values))
    fine()


@scenario
def a_result_lives_as_long_as_whoever_took_it_by_dlpack(folder: Path) -> None:
    stream = new_stream()
    array = DeviceArray(stream, (4,), np.dtype(np.float32))
    pointer = array.pointer
    capsule = array.__dlpack__()
    del array
    gc.collect()
    stream.synchronise()
    used = DRIVER.sim_used()
    assert used >= 16, pointer
    del capsule
    gc.collect()
    stream.synchronise()
    assert DRIVER.sim_used() == used - 16
    fine()


@scenario
def streams_of_other_libraries_are_understood(folder: Path) -> None:
    def like(**attributes: Any) -> Any:
        return type("Stream", (), attributes)()

    assert stream_handle(7) == 7
    assert stream_handle(like(cuda_stream=7)) == 7
    assert stream_handle(like(ptr=7)) == 7
    assert stream_handle(like(handle=ctypes.c_void_p(7))) == 7
    assert stream_handle(like(__cuda_stream__=lambda self: (0, 7))) == 7
    raises(ParameterError, "stream is a str", lambda: stream_handle("7"))


@scenario
def arrays_that_will_not_do_are_refused(folder: Path) -> None:
    s = session(folder)
    stream = new_stream()
    values = upload(stream, feeds())

    def strided(**changes: Any) -> Any:
        return of_another_library(values["lr"], **changes)

    def go(**changes: Any) -> Callable[[], Any]:
        return lambda: s.enqueue(values | changes, stream.handle)

    raises(ParameterError, "contiguous", go(lr=strided(strides=(4, 4, 4, 4))))
    raises(ParameterError, "the engine takes float32", go(lr=strided(typestr="<f8")))
    raises(ParameterError, "is not a GPU array", go(lr=np.zeros(3)))
    raises(ParameterError, "no input 'lrr'", go(lrr=values["lr"]))
    others = {"hrr": values["lr"]}
    text = "the engine has no output 'hrr': it gives hr"
    raises(ParameterError, text, lambda: s.enqueue(values, stream.handle, others))
    for default in (0, 1):
        raises(ParameterError, "default stream", lambda: s.enqueue(values, default))  # noqa: B023
    raises(ParameterError, "'z1' is missing", lambda: s.run({"lr": feeds()["lr"]}))
