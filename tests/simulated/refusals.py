"""What the GPU backend must refuse: in one line, with the way out."""

from __future__ import annotations

import sys
import threading
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from export.engine.compilers import default_targets
from export.engine.options import RTX_CAPABILITIES
from export.errors import ExportError
from runtime import backends
from runtime.backends.cuda.device import Device
from runtime.backends.cuda.driver import check, driver
from runtime.backends.tensorrt import open_engine
from runtime.backends.tensorrt_engine import version_of
from runtime.backends.tensorrt_log import log_of
from runtime.errors import BackendError, GpuMemoryError, ParameterError
from tests.simulated.rig import (
    DRIVER,
    GIGABYTE,
    Lines,
    broken,
    expected,
    feeds,
    fine,
    forget_gpus,
    new_stream,
    prepare,
    raises,
    scenario,
    session,
    sidecar,
    upload,
)
from tests.simulated.tensorrt_module import engine_bytes


@scenario
def no_fitting_engine_names_the_command_that_makes_one(folder: Path) -> None:
    graph, bundle = prepare(folder, version="1.6.0")
    remedy = f"hcflow compile '{bundle}' --engine tensorrt-rtx"
    raises(BackendError, "1.6.0, not 1.7.1", lambda: open_engine("tensorrt-rtx", graph, bundle))
    raises(BackendError, remedy, lambda: open_engine("tensorrt-rtx", graph, bundle))
    graph, bundle = prepare(folder, compute_capabilities=("8.6",))
    raises(BackendError, "this GPU has 8.9", lambda: open_engine("tensorrt-rtx", graph, bundle))
    raises(BackendError, "no TensorRT engine", lambda: open_engine("tensorrt", graph, bundle))


@scenario
def damaged_and_foreign_engines_are_refused(folder: Path) -> None:
    graph, bundle = prepare(folder)
    path = bundle / "inverse.engine"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    raises(BackendError, "truncated", lambda: open_engine("tensorrt-rtx", graph, bundle))
    path.write_bytes(b"x" + whole[1:])
    raises(BackendError, "SHA-256", lambda: open_engine("tensorrt-rtx", graph, bundle))
    path.write_bytes(whole)
    path.chmod(0o666)
    raises(BackendError, "written by everyone", lambda: open_engine("tensorrt-rtx", graph, bundle))
    path.unlink()
    raises(BackendError, "compile it again", lambda: open_engine("tensorrt-rtx", graph, bundle))


@scenario
def an_engine_the_library_refuses_is_explained_by_it(folder: Path) -> None:
    graph, bundle = prepare(folder)
    for data, text in (
        (b"not an engine", "it is not an engine"),
        (engine_bytes(graph, [], capability="7.5"), "this GPU's compute capability"),
    ):
        engine = sidecar(graph, data)
        (bundle / engine.file).write_bytes(data)
        manifest = replace(runtime.Bundle.open(bundle).manifest, engines=(engine.to_mapping(),))
        (bundle / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
        raises(BackendError, text, lambda: open_engine("tensorrt-rtx", graph, bundle))


@scenario
def a_cause_that_the_library_logs_before_its_last_error_is_told(folder: Path) -> None:
    graph, bundle = prepare(folder)
    runtime_class = sys.modules["tensorrt_rtx"].Runtime  # type: ignore[attr-defined]

    def short(self: Any, data: bytes) -> None:
        cause = 1, "Cuda Runtime (out of memory)"
        own = threading.Thread(target=self.log.log, args=cause)  # of the library's own
        own.start()
        own.join()
        self.log.log(1, "the plan does not load")

    with broken(runtime_class, "deserialize_cuda_engine", short):
        text = "does not load (Cuda Runtime (out of memory); the plan does not load), "
        raises(GpuMemoryError, text, lambda: open_engine("tensorrt-rtx", graph, bundle))


@scenario
def an_error_of_an_earlier_call_is_no_reason(folder: Path) -> None:
    s = session(folder)
    s.run(feeds())
    s._loaded._log.log(1, "Cuda Runtime (out of memory)")
    module = sys.modules["tensorrt_rtx"]
    silent = broken(module.IExecutionContext, "execute_async_v3", lambda *_: False)  # type: ignore[attr-defined]
    with silent, pytest.raises(BackendError) as error:
        s.run(feeds())
    assert str(error.value) == "the engine failed: the library does not say why"


@scenario
def the_library_gets_one_log_that_outlives_every_engine(folder: Path) -> None:
    logs = [session(each)._loaded._log for each in (folder / "one", folder / "two")]
    assert logs[0] is logs[1]
    assert log_of(sys.modules["tensorrt_rtx"]) is logs[0]


@scenario
def a_shape_outside_every_profile_is_refused_with_those_that_fit(folder: Path) -> None:
    s = session(folder)
    raises(BackendError, "lr 1×3×1×1 … 2×3×16×16", lambda: s.run(feeds(height=17)))
    raises(BackendError, "hcflow compile", lambda: s.run(feeds(n=3)))
    fine()


@scenario
def out_of_gpu_memory_names_what_is_free(folder: Path) -> None:
    s = session(folder)
    s.run(feeds())
    DRIVER.sim_machine(1, 13000, DRIVER.sim_used() + 4096)
    raises(BackendError, "out of GPU memory", lambda: s.run(feeds(2, 16, 16)))
    DRIVER.sim_machine(1, 13000, GIGABYTE)
    for values in (feeds(), feeds(), feeds(2, 16, 16)):  # what ran before must not use freed memory
        assert np.array_equal(s.run(values)["hr"], expected(values))
    fine()


@scenario
def a_missing_gpu_and_an_old_driver_are_named(folder: Path) -> None:
    forget_gpus()
    DRIVER.sim_machine(0, 13000, GIGABYTE)
    raises(BackendError, "finds no GPU", Device.open)
    DRIVER.sim_machine(1, 11040, GIGABYTE)
    raises(BackendError, "it supports CUDA 11.4, and 12.0 is needed", Device.open)
    DRIVER.sim_machine(1, 13000, GIGABYTE)
    raises(BackendError, "there is no GPU number 3, the driver finds 1", lambda: Device.open(3))
    Device.open()


@scenario
def auto_says_why_it_takes_another_backend(folder: Path) -> None:
    graph, bundle = prepare(folder, compute_capabilities=("8.6",))
    handler = Lines("runtime.backends.auto")
    numerics = runtime.Bundle.open(bundle).manifest.graphs[0].numerics
    values = feeds()
    s = backends.open_session("auto", graph, numerics, 1, bundle)
    assert np.array_equal(s.run(values)["hr"], expected(values))
    assert any("using another backend" in line for line in handler.lines), handler.lines


@scenario
def a_library_that_does_not_start_is_named_with_the_drivers_version(folder: Path) -> None:
    graph, bundle = prepare(folder)

    def null(log: object) -> None:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    module = sys.modules["tensorrt_rtx"]
    right, module.Runtime = module.Runtime, null  # type: ignore[attr-defined]
    try:
        text = (
            "tensorrt-rtx 1.7.1.116 does not start with this NVIDIA driver, which supports CUDA 13"
        )
        raises(BackendError, text, lambda: open_engine("tensorrt-rtx", graph, bundle))
        numerics = runtime.Bundle.open(bundle).manifest.graphs[0].numerics
        values = feeds()
        s = backends.open_session("auto", graph, numerics, 1, bundle)
        assert np.array_equal(s.run(values)["hr"], expected(values))
    finally:
        module.Runtime = right  # type: ignore[attr-defined]


@scenario
def a_gpu_that_tensorrt_rtx_does_not_serve_is_sent_to_tensorrt(folder: Path) -> None:
    DRIVER.sim_capability(9, 0)
    forget_gpus()
    try:
        graph, bundle = prepare(folder)
        text = "--engine tensorrt (TensorRT-RTX serves no GPU of compute capability 9.0)"
        raises(BackendError, text, lambda: open_engine("tensorrt-rtx", graph, bundle))
        raises(ExportError, "give --engine tensorrt", lambda: default_targets("tensorrt-rtx"))
        DRIVER.sim_capability(7, 5)
        forget_gpus()
        assert default_targets("tensorrt-rtx") == (*RTX_CAPABILITIES, "7.5")
    finally:
        DRIVER.sim_capability(8, 9)
        forget_gpus()


@scenario
def a_version_with_a_suffix_is_read(folder: Path) -> None:
    module = types.SimpleNamespace(__version__="10.14.1.48.post1")
    assert version_of(module) == "10.14.1.48"


@scenario
def every_status_that_the_driver_may_give_is_one_error_of_ours(folder: Path) -> None:
    s = session(folder)
    for _ in range(4):
        s.run(feeds())  # captured
    new = 4
    for function in (
        *("cuGraphLaunch", "cuMemAlloc", "cuMemAllocHost", "cuMemcpyHtoDAsync"),
        *("cuMemcpyDtoHAsync", "cuStreamSynchronize", "cuStreamWaitEvent", "cuEventRecord"),
    ):
        DRIVER.sim_fail(function.encode(), 999, 0)
        values = feeds() if function == "cuGraphLaunch" else feeds(height=new)
        raises(BackendError, "CUDA_ERROR_UNKNOWN", lambda: s.run(values))  # noqa: B023
        assert np.array_equal(s.run(values)["hr"], expected(values))  # it was that call alone
        new += 1
    DRIVER.sim_reset()
    fine()


@scenario
def a_lost_context_says_that_the_program_must_start_again(folder: Path) -> None:
    s = session(folder)
    s.run(feeds())
    DRIVER.sim_fail(b"cuStreamSynchronize", 700, 0)
    text = "CUDA_ERROR_ILLEGAL_ADDRESS, after which this process cannot use it any more"
    try:
        for _ in range(2):
            raises(BackendError, text, lambda: s.run(feeds()))
        raises(BackendError, text, lambda: session(folder))
        raises(BackendError, text, s.close)
    finally:
        DRIVER.sim_reset()


@scenario
def a_stream_that_was_destroyed_is_named(folder: Path) -> None:
    s, stream, values = session(folder), new_stream(), feeds()
    given = upload(new_stream(), values)
    check(driver().cuStreamDestroy(stream.handle))
    text = "stream is not a stream of CUDA, or was destroyed: give one that exists"
    raises(ParameterError, text, lambda: s.enqueue(given, stream.handle))


@scenario
def a_gpu_that_another_process_has_taken_is_named_and_auto_goes_on(folder: Path) -> None:
    graph, bundle = prepare(folder)
    numerics = runtime.Bundle.open(bundle).manifest.graphs[0].numerics
    for name, _ in (("tensorrt-rtx", 0), ("auto", 0)):
        forget_gpus()
        DRIVER.sim_fail(b"cuDevicePrimaryCtxRetain", 46, 0)
        if name == "auto":
            opened = backends.open_session(name, graph, numerics, 1, bundle)
            assert np.array_equal(opened.run(feeds())["hr"], expected(feeds()))
        else:
            text = "another process has taken the GPU for itself"
            raises(BackendError, text, lambda: open_engine("tensorrt-rtx", graph, bundle))
