"""What the GPU backend must do: every run right, nothing copied, waited for or leaked unasked."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from runtime.backends import tensorrt_stream
from runtime.backends.cuda_arrays import DeviceArray, stream_handle, view
from runtime.backends.cuda_device import Device
from runtime.backends.cuda_driver import check, driver
from runtime.backends.cuda_stream import Stream
from runtime.backends.session import Layer
from runtime.backends.tensorrt import open_engine
from runtime.backends.tensorrt_session import EngineSession
from runtime.bundle import engine_cache
from runtime.errors import BackendError, ParameterError
from tests.simulated.rig import (
    DRIVER,
    download,
    expected,
    feeds,
    fine,
    new_stream,
    plan,
    prepare,
    raises,
    ranges,
    scenario,
    session,
    sidecar,
    upload,
)
from tests.simulated.tensorrt_module import KERNELS
from tests.support.bundles import inverse_graph


def per_thread() -> Stream:
    """The default stream of the thread that asks."""
    return Stream(Device.open(), 2)


@scenario
def host_arrays_give_what_the_cpu_gives(folder: Path) -> None:
    s = session(folder)
    for seed in range(4):  # plain, captured, replayed, replayed
        values = feeds(seed=seed)
        assert np.array_equal(s.run(values)["hr"], expected(values))
    fine()


@scenario
def the_second_run_of_a_shape_is_captured_and_then_replayed(folder: Path) -> None:
    graph, bundle = prepare(folder, library="tensorrt", version="11.1.0.106")
    s = open_engine("tensorrt", graph, bundle)
    s.run(feeds())
    (made,) = s._streams[-1]._prepared.values()
    assert made.graph is None
    s.run(feeds())
    assert made.graph is not None
    before = DRIVER.sim_copies()
    s.run(feeds())
    assert DRIVER.sim_copies() == before  # one launch, no single copies
    fine()


@scenario
def a_shape_that_comes_back_is_compiled_for_run_once_and_then_captured(folder: Path) -> None:
    s = session(folder)
    s.run(feeds())
    (made,) = s._streams[-1]._prepared.values()
    assert made.context.specialised == "LAZY"
    s.run(feeds())
    assert made.context.specialised == "EAGER"
    assert (made.graph, s.graph_runs) == (None, 0)
    for seed in range(3):
        assert np.array_equal(s.run(feeds(seed=seed))["hr"], expected(feeds(seed=seed)))
    assert s.graph_runs == 3
    s.run(feeds(height=4))  # other shapes start from the beginning
    assert [each.context.specialised for each in s._streams[-1]._prepared.values()] == [
        "EAGER",
        "LAZY",
    ]
    fine()


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
def buffers_are_made_once_a_shape(folder: Path) -> None:
    s = session(folder)
    s.run(feeds())
    used = DRIVER.sim_used()
    for seed in range(20):
        s.run(feeds(seed=seed))
    assert DRIVER.sim_used() == used
    fine()


@scenario
def many_shapes_are_bounded_and_memory_returns_to_its_start(folder: Path) -> None:
    start = DRIVER.sim_used()
    s = session(folder)
    for height in range(1, 17):
        values = feeds(height=height)
        for _ in range(3):
            assert np.array_equal(s.run(values)["hr"], expected(values))
    assert len(s._streams[-1]._prepared) == tensorrt_stream.MOST_SHAPES
    s.close()
    assert DRIVER.sim_used() == start
    fine()


@scenario
def growing_scratch_memory_drops_the_graphs_that_knew_it(folder: Path) -> None:
    s = session(folder)
    small, large = feeds(1, 2, 2), feeds(2, 16, 16)
    for values in (small, small, large, small, large, large, small):
        assert np.array_equal(s.run(values)["hr"], expected(values))
    fine()


@scenario
def a_second_profile_takes_what_the_first_does_not(folder: Path) -> None:
    s = session(folder)
    values = feeds(2, 12, 16)
    assert np.array_equal(s.run(values)["hr"], expected(values))
    fine()


@scenario
def threads_share_a_session(folder: Path) -> None:
    s = session(folder)
    wrong: list[str] = []

    def work(seed: int) -> None:
        for i in range(6):
            values = feeds(height=1 + (seed + i) % 4, seed=seed)
            if not np.array_equal(s.run(values)["hr"], want[seed, i]):
                wrong.append(f"thread {seed}, run {i}")

    want = {
        (seed, i): expected(feeds(height=1 + (seed + i) % 4, seed=seed))
        for seed in range(4)
        for i in range(6)
    }
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong
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
    class LikePyTorch:
        def __init__(self, array: DeviceArray) -> None:
            self.array = array
            interface = array.__cuda_array_interface__ | {"version": 2}
            self.__cuda_array_interface__ = {k: v for k, v in interface.items() if k != "stream"}

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.array.__dlpack_device__()

    s = session(folder)
    producer, consumer = new_stream(), new_stream()
    values = feeds()
    given = {name: LikePyTorch(each) for name, each in upload(producer, values).items()}
    result = s.enqueue(given, consumer.handle)["hr"]
    assert np.array_equal(download(consumer, result), expected(values))
    fine()


@scenario
def memory_is_freed_after_the_work_of_whoever_took_it(folder: Path) -> None:
    producer, consumer = new_stream(), new_stream()
    array = DeviceArray(producer, (4,), np.dtype(np.float32))
    target = DeviceArray(consumer, (4,), np.dtype(np.float32))
    producer.synchronise()
    capsule = array.__dlpack__(stream=consumer.handle)
    consumer.copy(target.pointer, array.pointer, array.nbytes)
    del capsule, array
    gc.collect()
    producer.synchronise()
    consumer.synchronise()
    fine()


@scenario
def addresses_that_an_engine_cannot_read_in_place_are_copied(folder: Path) -> None:
    s = session(folder)
    stream, values = new_stream(), feeds()
    given = upload(stream, values)
    shape = given["lr"].shape

    def shifted(array: DeviceArray, shape: tuple[int, ...]) -> Any:
        interface = array.__cuda_array_interface__ | {"shape": shape}
        interface["data"] = (array.pointer + 4, False)
        return type("Array", (), {"__cuda_array_interface__": interface, "owner": array})()

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
    class OnlyDlpack:
        def __init__(self, array: DeviceArray) -> None:
            self.array = array

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> tuple[int, int]:
            return self.array.__dlpack_device__()

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
        interface = values["lr"].__cuda_array_interface__ | changes
        return type("Array", (), {"__cuda_array_interface__": interface})()

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


@scenario
def the_runtime_cache_is_kept_on_disk_and_read_again(folder: Path) -> None:
    s = session(folder)
    s.run(feeds())
    (kept,) = engine_cache.folder().glob("*.runtime-cache")
    kept.write_bytes(KERNELS + b"of yesterday;")
    again = session(folder)
    assert again._loaded._runtime_cache.kernels == KERNELS + b"of yesterday;"


@scenario
def layers_are_timed_without_a_graph_and_leave_nothing_behind(folder: Path) -> None:
    s = session(folder)
    values = feeds()
    for _ in range(3):
        s.run(values)
    assert s.layer_times(values, 4) == [Layer("the whole graph", "engine layer", 0.5e-3)]
    assert not s._streams[-1]._prepared
    assert np.array_equal(s.run(values)["hr"], expected(values))
    fine()


@scenario
def shapes_that_the_smallest_engine_does_not_hold_run_on_the_next(folder: Path) -> None:
    graph, bundle = prepare(folder, profiles=(ranges(5, 1),))
    data = plan(graph, (ranges(16, 2),))
    name = f"{hashlib.sha256(graph).hexdigest()[:12]}.large.engine"
    engine_cache.write(sidecar(graph, data, file=name, profiles=(ranges(16, 2),)), data)
    s = open_engine("tensorrt-rtx", graph, bundle)
    assert s.engine.file == "inverse.engine"
    small, large = feeds(), feeds(2, 12, 16)
    assert np.array_equal(s.run(small)["hr"], expected(small))
    assert s._next is None
    assert np.array_equal(s.run(large)["hr"], expected(large))
    assert s._next is not None
    assert s._next.engine.file == name
    raises(BackendError, "outside the engine's shapes", lambda: s.run(feeds(height=17)))
    s.close()
    fine()


@scenario
def tensorrt_itself_runs_too(folder: Path) -> None:
    graph, bundle = prepare(folder, library="tensorrt", version="11.1.0.106")
    s = open_engine("tensorrt", graph, bundle)
    values = feeds()
    for _ in range(3):
        assert np.array_equal(s.run(values)["hr"], expected(values))
    fine()


@scenario
def a_version_compatible_engine_may_bring_host_code_along_and_no_other(folder: Path) -> None:
    made_here = {"library": "tensorrt", "version": "11.1.0.106"}
    graph, bundle = prepare(folder, version_compatible=True, **made_here)
    values = feeds()
    s = open_engine("tensorrt", graph, bundle)
    assert np.array_equal(s.run(values)["hr"], expected(values))
    data = plan(graph, host_code=True)
    manifest = replace(
        runtime.Bundle.open(bundle).manifest,
        engines=(sidecar(graph, data, **made_here).to_mapping(),),
    )
    (bundle / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    refused = "host code is not allowed"
    raises(BackendError, refused, lambda: open_engine("tensorrt", graph, bundle))


@scenario
def a_model_runs_on_the_engine_of_its_bundle(folder: Path) -> None:
    _, bundle = prepare(folder)
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    on_gpu = runtime.load(bundle, backend="tensorrt-rtx").upscale(image, tau=0.5, seed=3)
    assert np.array_equal(on_gpu, runtime.load(bundle).upscale(image, tau=0.5, seed=3))
    network = runtime.load(bundle, backend="auto")._network
    network.decode(np.zeros((1, 3, 4, 4), np.float32))
    assert any(isinstance(s, EngineSession) for _, s in network._sessions.values())
    fine()


@scenario
def an_engine_of_the_users_cache_is_found(folder: Path) -> None:
    graph = inverse_graph(True)
    data = plan(graph)
    engine_cache.write(
        sidecar(graph, data, file=f"{sidecar(graph, data).graph[:12]}.e.engine"), data
    )
    s = open_engine("tensorrt-rtx", graph, None)
    values = feeds()
    assert np.array_equal(s.run(values)["hr"], expected(values))
