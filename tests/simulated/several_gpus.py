"""Several GPUs: the chosen one works, what is another's is refused, the caller's context stays."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

import runtime
from runtime.backends.cuda.arrays import DeviceArray
from runtime.backends.cuda.device import Device
from runtime.backends.cuda.driver import check, driver
from runtime.backends.cuda.stream import PER_THREAD, Stream
from runtime.bundle.engines import cache
from runtime.errors import BackendError, ParameterError
from runtime.inference.network import Network
from tests.simulated.rig import (
    Lines,
    OnlyDlpack,
    download,
    expected,
    feeds,
    fine,
    gpus,
    new_stream,
    of_another_library,
    prepare,
    raises,
    scenario,
    session,
    upload,
)


@scenario
def an_engine_runs_on_the_gpu_that_is_chosen(folder: Path) -> None:
    with gpus(2):
        s = session(folder, 1)
        for seed in range(5):
            values = feeds(seed=seed)
            assert np.array_equal(s.run(values)["hr"], expected(values))
        with Device.open(1).current():
            stream, values = new_stream(1), feeds(seed=9)
            result = s.enqueue(upload(stream, values), stream.handle)["hr"]
            assert result.__dlpack_device__() == (2, 1)
            assert np.array_equal(download(stream, result), expected(values))
            del result
        s.close()
        fine()


@scenario
def a_model_computes_on_the_gpu_of_a_number(folder: Path) -> None:
    _, bundle = prepare(folder)
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    with gpus(3):
        model = runtime.load(bundle, backend="tensorrt-rtx", device=2)
        on_gpu = model.upscale(image, tau=0.5, seed=3)
        (engine,) = (s for _, s in model.network._choices._sessions.values())
        assert engine._device.ordinal == 2  # type: ignore[attr-defined]
    assert np.array_equal(on_gpu, runtime.load(bundle).upscale(image, tau=0.5, seed=3))
    fine()


@scenario
def the_callers_context_is_current_again_after_every_call(folder: Path) -> None:
    with gpus(2):
        other = int(Device.open(1)._context)
        for context in (other, 0):
            check(driver().cuCtxSetCurrent(context))
            s = session(folder)
            assert _current() == context
            s.run(feeds())
            assert _current() == context
            with Device.open(0).current():
                stream = new_stream()
                given = upload(stream, feeds())
            result = s.enqueue(given, stream.handle)["hr"]
            assert _current() == context
            assert np.array_equal(_downloaded(stream, result), expected(feeds()))
            capsule = result.__dlpack__(stream=-1)
            del result, capsule
            assert _current() == context
            raises(BackendError, "outside", lambda: s.run(feeds(height=17)))  # noqa: B023
            assert _current() == context
            s.close()
            assert _current() == context
        fine()


def _current() -> int:
    return int(check(driver().cuCtxGetCurrent()))


def _downloaded(stream: Any, array: DeviceArray) -> Any:
    with Device.open(0).current():
        return download(stream, array)


@scenario
def arrays_and_streams_of_another_gpu_are_refused(folder: Path) -> None:
    with gpus(2):
        s, here = session(folder), new_stream()
        given = upload(here, feeds())
        with Device.open(1).current():
            there = new_stream(1)
            elsewhere = upload(there, feeds())
            wrong = {"hr": DeviceArray(there, (1, 3, 12, 20), np.dtype(np.float32))}
        text = "is on GPU 1, the model on GPU 0: copy it there, or open the model with device=1"
        raises(ParameterError, f"'lr' {text}", lambda: s.enqueue(elsewhere, here.handle))
        by_dlpack = given | {"z1": OnlyDlpack(elsewhere["z1"])}
        raises(ParameterError, f"'z1' {text}", lambda: s.enqueue(by_dlpack, here.handle))
        raises(ParameterError, f"'hr' {text}", lambda: s.enqueue(given, here.handle, wrong))
        text = "stream belongs to another GPU or CUDA context than GPU 0's primary one"
        raises(ParameterError, text, lambda: s.enqueue(given, there.handle))
        unknown = of_another_library(given["lr"], data=(64, False))
        text = "'lr' is not in GPU memory"
        raises(ParameterError, text, lambda: s.enqueue(given | {"lr": unknown}, here.handle))
        pinned = Device.open().pinned(given["lr"].shape, given["lr"].dtype)
        on_host = of_another_library(given["lr"], data=(pinned.pointer, False))
        raises(ParameterError, text, lambda: s.enqueue(given | {"lr": on_host}, here.handle))
        with Device.open(1).current():
            there.synchronise()
            elsewhere.clear()
            by_dlpack.clear()
            wrong.clear()
        result = s.enqueue(given, here.handle)["hr"]
        assert np.array_equal(download(here, result), expected(feeds()))
        fine()


@scenario
def a_gpu_that_is_not_there_is_one_error_and_auto_goes_on(folder: Path) -> None:
    _, bundle = prepare(folder)
    lr = feeds()["lr"]
    with gpus(2):
        network = runtime.load(bundle, backend="tensorrt-rtx", device=7).network
        text = "there is no GPU number 7, the driver finds 2: see nvidia-smi"
        raises(BackendError, text, lambda: network.decode(lr))
        log = Lines("runtime.backends", "runtime.backends.auto")
        network = runtime.load(bundle, backend="auto", device=7).network
        network.decode(lr)
        (graph,) = (g for g in bundle_graphs(network) if g.direction == "inverse")
        assert network.opened_on(graph) in ("openvino", "onnxruntime")
        assert any("there is no GPU number 7" in line for line in log.lines), log.lines
        assert any("GPU 7 is not used" in line for line in log.lines), log.lines


def bundle_graphs(network: Network) -> Any:
    return network.manifest.graphs


@scenario
def a_number_of_a_gpu_for_a_processor_or_that_is_none_is_refused(folder: Path) -> None:
    _, bundle = prepare(folder)
    for backend, device, text in (
        ("onnxruntime", 0, "ONNX Runtime computes on processors: leave it out"),
        ("openvino", 1, "OpenVINO computes on processors"),
        ("tensorrt-rtx", -1, "device is -1: it must be from 0"),
        ("auto", "0", "device is '0': it must be a whole number"),
        ("auto", 1.5, "device is 1.5: it must be a whole number"),
    ):
        options: dict[str, Any] = {"backend": backend, "device": device}
        raises(ParameterError, text, lambda: runtime.load(bundle, **options))  # noqa: B023


@scenario
def kernels_made_on_one_kind_of_gpu_are_kept_apart_from_anothers(folder: Path) -> None:
    with gpus(2):
        for ordinal in range(2):
            session(folder, ordinal).run(feeds())
    names = sorted(path.name for path in cache.folder().glob("*.runtime-cache"))
    assert {name.split(".")[-2] for name in names} == {"simulated-gpu", "simulated-gpu-of-kind-1"}


@scenario
def an_array_of_a_threads_own_stream_may_be_freed_in_another_thread(folder: Path) -> None:
    s, results = session(folder), []

    def work() -> None:
        Device.open().use()
        stream = Stream(Device.open(), PER_THREAD)
        results.append(s.enqueue(upload(stream, feeds()), PER_THREAD)["hr"])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    results.clear()  # in this thread the handle 2 is another stream
    s.close()
    fine()
